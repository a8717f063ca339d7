"""What is found out about a run after it ended, on its MLflow run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.runs.tracking_uri import scrubbed, with_credentials, without_credentials
from trainer.tracking.metric_mapping import Point
from trainer.tracking.mlflow_state import load


def tell_later(run_dir: Path, points: Sequence[Point], files: Iterable[Path], folder: str) -> str | None:
    """Log values and upload files to the MLflow run of a run directory, where it is tracked.

    Args:
        folder: of the run's artifacts.

    Returns:
        Why it couldn't be told; None when it was, or where the run isn't tracked.
    """
    state = load(run_dir)
    if state is None or not state.mlflow_run_id or not state.uri:
        return None
    from trainer.tracking.client import MlflowTracker

    try:
        tracker = MlflowTracker(with_credentials(state.uri))
        if not tracker.has_run(state.mlflow_run_id):
            return f"MLflow at {without_credentials(state.uri)} doesn't have this run"
        tracker.log(state.mlflow_run_id, list(points))
        for file in files:
            tracker.upload(state.mlflow_run_id, file, folder)
    except Exception as error:  # it is on disk, whatever a server says
        reason = scrubbed(" ".join(str(error).split()))[:300]
        return f"MLflow at {without_credentials(state.uri)}: {reason}"
    return None
