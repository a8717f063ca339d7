"""An evaluation as files: the result, curves and their pictures, the worst images drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import orjson

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import DatasetError
from trainer.inference.evaluation import Evaluation
from trainer.inference.evaluation_data import config_of
from trainer.inference.hard_examples import WORDS
from trainer.inference.prediction_writer import save_picture
from trainer.inference.predictor_base import BasePredictor
from trainer.plots.run_plots import CURVES, FOLDER, draw_curves
from trainer.predictions.contact_sheet import contact_sheet
from trainer.predictions.draw import draw_prediction, read_image


def evaluation_name(evaluation: Evaluation, model: BasePredictor) -> str:
    """``val``, or ``cats-val`` on another data set; what files and metrics are called by."""
    data = evaluation.data
    assert data is not None
    kind = f"-{model.about['format']}" if model.found.exported else ""
    return (data.split if data.own else f"{data.dataset.replace('/', '-')}-{data.split}") + kind


def evaluation_result(model: BasePredictor, evaluation: Evaluation, seconds: float) -> dict[str, Any]:
    """The keys of ``result.json``, for an evaluation, and beside them split, thresholds, speed and worst images."""
    try:
        stock = (config_of(model).get("default_hooks") or {}).get("checkpoint") or {}
    except DatasetError:  # an exported file far from its run
        stock = {}
    name = stock.get("save_best") or next(iter(evaluation.metrics))
    run, data = model.found.run, evaluation.data
    return {
        "status": "finished",
        "command": "evaluate",
        "task": model.task,
        "model": model.name,
        "dataset": data.dataset if data else model.dataset,
        "primary_metric": {
            "name": name,
            "value": evaluation.metrics.get(name),
            "mode": "min" if stock.get("rule") == "less" else "max",
            "epoch": model.epoch,
        },
        "metrics": {**evaluation.metrics, "per_class": evaluation.per_class},
        "checkpoints": {
            kind: f"checkpoints/{kind}.pth" if run and (run.checkpoints / f"{kind}.pth").is_file() else None
            for kind in ("best", "last")
        },
        "epochs_completed": model.epoch,
        "duration_seconds": round(seconds, 3),
        "run_id": model.about.get("run_id"),
        "mlflow_run_id": run.facts.get("mlflow_run_id") if run else None,
        "error": None,
        "split": data.split if data else None,
        "checkpoint": str(model.found.path),
        "images": evaluation.images,
        "thresholds": evaluation.thresholds,
        "speed": evaluation.speed,
        "worst": {
            "score": WORDS[model.task],
            "images": [{"file": one.path, "score": round(one.score, 4)} for one in evaluation.worst],
        },
    }


def write_result(folder: Path, name: str, result: dict[str, Any]) -> Path:
    """``evaluation-<name>.json``."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    return atomic_write(folder / f"evaluation-{name}.json", text)


def write_curves(
    folder: Path, name: str, model: BasePredictor, evaluation: Evaluation, plots: bool = True
) -> list[Path]:
    """``curves/evaluation-<name>.json``, as training writes its own, and its pictures; the pictures' files."""
    if not evaluation.curves or evaluation.data is None:
        return []
    data = evaluation.data
    about = {"version": 1, "task": model.task, "split": data.split, "epoch": model.epoch}
    content = {**about, "classes": list(model.classes), **evaluation.curves}
    file = atomic_write(folder / CURVES / f"evaluation-{name}.json", orjson.dumps(content))
    if not plots:
        return []
    words = f"{model.name} on {data.dataset}, {data.split} · epoch {model.epoch}"
    prefix = f"evaluation-{name}_"
    return draw_curves(file, folder / FOLDER, lambda _: words, prefix, evaluation.per_class)


def write_worst(folder: Path, name: str, model: BasePredictor, evaluation: Evaluation) -> Path | None:
    """``plots/evaluation-<name>_worst.png``: the worst images beside what is true; None where there are none."""
    pairs, captions = [], []
    options = (model.palette, model.skeleton)
    for one in evaluation.worst:
        image = read_image(one.path)
        # A whole folder of photographs would fill the memory at their own size.
        pairs.append(
            (
                _small(draw_prediction(image, one.prediction, *options)),
                _small(draw_prediction(image, one.truth, *options)),
            )
        )
        captions.append(f"{one.score:.2f}  {Path(one.path).name}")
    if not pairs:
        return None
    return save_picture(
        folder / FOLDER / f"evaluation-{name}_worst.png", contact_sheet(pairs, captions=captions)
    )


def _small(picture: Any, side: int = 640) -> Any:
    factor = side / max(picture.shape[:2])
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
