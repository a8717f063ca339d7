"""An evaluation in MLflow: its values on the run of the checkpoint that was evaluated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainer.tracking.points import Point, clean_key
from trainer.tracking.state import load
from trainer.tracking.uri import scrubbed, with_credentials, without_credentials

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
    state = load(run_dir)
    if state is None or not state.mlflow_run_id or not state.uri:
        return None
    from trainer.tracking.client import Tracker

    try:
        tracker = Tracker(with_credentials(state.uri))
        if not tracker.has_run(state.mlflow_run_id):
            return f"MLflow at {without_credentials(state.uri)} doesn't have this run"
        tracker.log(state.mlflow_run_id, _points(name, result))
        for file in files:
            tracker.upload(state.mlflow_run_id, file, FOLDER)
    except Exception as error:  # an evaluation is on disk, whatever a server says
        reason = scrubbed(" ".join(str(error).split()))[:300]
        return f"MLflow at {without_credentials(state.uri)}: {reason}"
    return None


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
