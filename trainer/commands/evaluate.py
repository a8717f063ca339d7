"""``python -m trainer evaluate checkpoint=<run or file> split=val``: the metrics of a model, in a table and as JSON.

On another data set: ``dataset=coco dataset.path=...``, in the words of training. The worst images are drawn
(``worst``), the curves too (``plots``), and the tracker that the run is on is told (``track``).
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.commands.notes import notes_to_stderr
from trainer.core.cli_text import short
from trainer.schema import Dataset, Evaluate

if TYPE_CHECKING:
    from trainer.inference.evaluation import Evaluation
    from trainer.inference.predictor_base import BasePredictor

_EXTREMES = 5


def main(config: Evaluate, overrides: list[str]) -> int:
    """Evaluate and return the exit code.

    Raises:
        TrainerError: no such checkpoint, data set or split, or the evaluation failed.
    """
    console = Console(file=sys.stdout, highlight=False)  # bound now: libraries' own words are redirected
    found = find_checkpoint(config.checkpoint, config.output_dir)
    started = time.time()
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.inference import evaluation_report
    from trainer.inference.load_model import load_model

    model = load_model(found, config.device, half=config.half, imports=config.imports)
    notes_to_stderr(model.notes)
    evaluation = _evaluate(console, model, config)
    folder = Path(config.output).expanduser() if config.output else found.folder("")
    name = evaluation_report.evaluation_name(evaluation, model)
    result = evaluation_report.evaluation_result(model, evaluation, time.time() - started)
    path = evaluation_report.write_result(folder, name, result)
    _show(console, model, evaluation)
    console.print(f"written to {short(path)}", soft_wrap=True)
    pictures = evaluation_report.write_curves(folder, name, model, evaluation, config.plots)
    worst = evaluation_report.write_worst(folder, name, model, evaluation)
    for picture in [*pictures, *([worst] if worst else [])]:
        console.print(f"drawn in {short(picture)}", soft_wrap=True)
    if config.track and found.run:
        from trainer.tracking.evaluation import log_evaluation

        files = [path, *pictures, *([worst] if worst else [])]
        if trouble := log_evaluation(found.run.dir, name, result, files):
            notes_to_stderr([f"the tracker doesn't have this evaluation: {trouble}"])
    return 0


def _evaluate(console: Console, model: BasePredictor, config: Evaluate) -> Evaluation:
    from trainer.inference.evaluation import evaluate
    from trainer.inference.evaluation_data import other_data, own_data

    chosen = _chosen(config.dataset)
    data = other_data(model, chosen, config.split) if chosen else own_data(model, config.split)
    notes_to_stderr(data.notes)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"evaluating on {data.split}", total=None)
        return evaluate(
            model,
            batch_size=config.batch_size,
            workers=config.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            data=data,
            worst=config.worst,
        )


def _chosen(dataset: Dataset) -> Dataset | None:
    """The data set that was named; None for the run's own. A path alone says enough."""
    if dataset.name:
        return dataset
    if dataset.path is None:
        return None
    return replace(dataset, format="auto" if dataset.format == "digits" else dataset.format)


def _show(console: Console, model: BasePredictor, evaluation: Evaluation) -> None:
    path, data = short(model.found.path), evaluation.data
    where = f"{data.dataset}, {data.split}" if data else ""
    console.print(
        f"{model.name}, {model.task}: {path} on {where}, {evaluation.images} samples", soft_wrap=True
    )
    table = Table("metric", "value")
    for name, value in evaluation.metrics.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    best = evaluation.thresholds.get("per_class", {})
    if overall := evaluation.thresholds.get("overall"):
        console.print(
            f"best threshold {overall['threshold']:g}: F1 {overall['f1']:.4f}, precision {overall['precision']:.4f}, "
            f"recall {overall['recall']:.4f}"
        )
    speed = evaluation.speed
    console.print(
        f"{speed['images_per_second']:g} images/s; an image: data {speed['data_ms']:.1f} ms, "
        f"model {speed['model_ms']:.1f} ms, metric {speed['metric_ms']:.1f} ms"
    )
    if not evaluation.per_class:
        return
    columns = list(dict.fromkeys(name for values in evaluation.per_class.values() for name in values))
    order = sorted(evaluation.per_class.items(), key=lambda item: -item[1].get(columns[0], -1.0))
    title = "classes, best first"
    if len(order) > 2 * _EXTREMES:
        title = f"the {_EXTREMES} best and the {_EXTREMES} worst of {len(order)} classes"
        order = [*order[:_EXTREMES], *order[-_EXTREMES:]]
    classes = Table(
        "class", *columns, *(["best threshold"] if best else []), title=title, title_justify="left"
    )
    for name, values in order:
        cells = [f"{values[column]:.4f}" if column in values else "" for column in columns]
        classes.add_row(
            name, *cells, *([f"{best[name]['threshold']:g}" if name in best else ""] if best else [])
        )
    console.print(classes)
