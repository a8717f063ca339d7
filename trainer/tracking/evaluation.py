"""An evaluation in MLflow: its values on the run of the checkpoint that was evaluated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainer.tracking.metric_mapping import Point, clean_key
from trainer.tracking.post_run import tell_later

FOLDER = "evaluation"


def log_evaluation(
    run_dir: Path, name: str, result: Mapping[str, Any], files: Iterable[Path] = ()
) -> str | None:
    """Tell MLflow about an evaluation, where the run is tracked.

    Metrics are called ``evaluation/<name>/<metric>``, those of a class ``.../per_class/<class>/<metric>``, at the step
    of the checkpoint's epoch; the files go below ``evaluation/``.

    Args:
        name: the split, with the data set before it where that isn't the run's own.
        result: as ``evaluation-<split>.json`` has it.

    Returns:
        Why it couldn't be told; None when it was, or where the run isn't tracked.
    """
    return tell_later(run_dir, _points(name, result), files, FOLDER)


def _points(name: str, result: Mapping[str, Any]) -> list[Point]:
    now, step = int(time.time() * 1000), int(result.get("epochs_completed") or 0)
    metrics = dict(result["metrics"])
    values = {
        f"per_class/{one}/{key}": v
        for one, own in metrics.pop("per_class", {}).items()
        for key, v in own.items()
    }
    values |= metrics | {f"speed/{key}": value for key, value in (result.get("speed") or {}).items()}
    return [
        Point(clean_key(f"{FOLDER}/{name}/{key}"), float(value), now, step)
        for key, value in values.items()
        if isinstance(value, (int, float)) and value == value
    ]
