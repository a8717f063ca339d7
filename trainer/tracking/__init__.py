"""Trackers: MLflow, TensorBoard and those of plug-ins, each fed from a run's event log by a process of its own."""

from trainer.runs.tracking_uri import tracking_uri, ui_command
from trainer.tracking.mlflow_sink import sync
from trainer.tracking.mlflow_state import mlflow_run_id
from trainer.tracking.sink_processes import SinkProcess, start_sink
from trainer.tracking.tracker import Tracker, compare_command, replay, tracker_class, tracker_names

__all__ = [
    "SinkProcess",
    "Tracker",
    "compare_command",
    "mlflow_run_id",
    "replay",
    "start_sink",
    "sync",
    "tracker_class",
    "tracker_names",
    "tracking_uri",
    "ui_command",
]
