"""``python -m trainer evaluate checkpoint=<run> split=val``: the metrics of a checkpoint, in a table and as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trainer.commands.common import notes_to_stderr
from trainer.config.schema import Evaluate
from trainer.inference.locate import find_checkpoint
from trainer.storage import atomic_write
from trainer.words import short

if TYPE_CHECKING:
    from trainer.inference.evaluate import Evaluation
    from trainer.inference.predictor import Predictor

_EXTREMES = 5


def main(config: Evaluate, overrides: list[str]) -> int:
    """Evaluate and return the exit code.

    Raises:
        TrainerError: no such checkpoint or split, or the evaluation failed.
    """
    console = Console(file=sys.stdout, highlight=False)  # bound now: libraries' own words are redirected
    found = find_checkpoint(config.checkpoint, config.output_dir)
    started = time.time()
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.inference.evaluate import evaluate
    from trainer.inference.load import load_model

    predictor = load_model(found, config.device)
    notes_to_stderr(predictor.notes)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"evaluating on {config.split}", total=None)
        evaluation = evaluate(
            predictor,
            config.split,
            config.batch_size,
            config.workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    result = evaluation_result(predictor, evaluation, time.time() - started)
    path = atomic_write(
        found.folder(f"evaluation-{config.split}.json"),
        json.dumps(result, indent=2, ensure_ascii=False) + "\n",
    )
    _show(console, predictor, evaluation, config.split)
    console.print(f"written to {short(path)}", soft_wrap=True)
    for picture in write_curves(predictor, evaluation, config.split, config.plots):
        console.print(f"drawn in {short(picture)}", soft_wrap=True)
    return 0


def write_curves(predictor: Predictor, evaluation: Evaluation, split: str, plots: bool = True) -> list[Path]:
    """``curves/evaluation-<split>.json``, as training writes its own, and its pictures; the pictures' files."""
    if not evaluation.curves:
        return []
    import orjson

    from trainer.plots.drawing import CURVES, FOLDER, draw_curves

    found, name = predictor.found, f"evaluation-{split}"
    about = {"version": 1, "task": predictor.task, "split": split, "epoch": predictor.epoch}
    content = {**about, "classes": list(predictor.classes), **evaluation.curves}
    file = atomic_write(found.folder(CURVES) / f"{name}.json", orjson.dumps(content))
    if not plots:
        return []
    words = f"{predictor.name} on {predictor.dataset}, {split} · epoch {predictor.epoch}"
    return draw_curves(file, found.folder(FOLDER), lambda _: words, f"{name}_", evaluation.per_class)


def evaluation_result(predictor: Predictor, evaluation: Evaluation, seconds: float) -> dict[str, Any]:
    """The keys of ``result.json``, for an evaluation."""
    stock = (predictor.config.get("default_hooks") or {}).get("checkpoint") or {}
    name = stock.get("save_best") or next(iter(evaluation.metrics))
    run = predictor.found.run
    return {
        "status": "finished",
        "command": "evaluate",
        "task": predictor.task,
        "model": predictor.name,
        "dataset": predictor.dataset,
        "primary_metric": {
            "name": name,
            "value": evaluation.metrics.get(name),
            "mode": "min" if stock.get("rule") == "less" else "max",
            "epoch": predictor.epoch,
        },
        "metrics": {**evaluation.metrics, "per_class": evaluation.per_class},
        "checkpoints": {
            kind: f"checkpoints/{kind}.pth" if run and (run.checkpoints / f"{kind}.pth").is_file() else None
            for kind in ("best", "last")
        },
        "epochs_completed": predictor.epoch,
        "duration_seconds": round(seconds, 3),
        "run_id": predictor.about.get("run_id"),
        "mlflow_run_id": run.facts.get("mlflow_run_id") if run else None,
        "error": None,
    }


def _show(console: Console, predictor: Predictor, evaluation: Evaluation, split: str) -> None:
    path = short(predictor.found.path)
    console.print(
        f"{predictor.name}, {predictor.task}: {path} on {split}, {evaluation.images} samples", soft_wrap=True
    )
    table = Table("metric", "value")
    for name, value in evaluation.metrics.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    if not evaluation.per_class:
        return
    columns = list(dict.fromkeys(name for values in evaluation.per_class.values() for name in values))
    order = sorted(evaluation.per_class.items(), key=lambda item: -item[1].get(columns[0], -1.0))
    title = "classes, best first"
    if len(order) > 2 * _EXTREMES:
        title = f"the {_EXTREMES} best and the {_EXTREMES} worst of {len(order)} classes"
        order = [*order[:_EXTREMES], *order[-_EXTREMES:]]
    classes = Table("class", *columns, title=title, title_justify="left")
    for name, values in order:
        classes.add_row(name, *(f"{values[column]:.4f}" if column in values else "" for column in columns))
    console.print(classes)
