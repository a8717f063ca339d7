"""The MLflow sink: a process of its own that reads a run's event log, so that no server can slow or stop training."""

from trainer.runs.tracking_uri import tracking_uri, ui_command
from trainer.tracking.mlflow_sink import sync
from trainer.tracking.mlflow_state import mlflow_run_id
from trainer.tracking.sink_processes import SinkProcess, start_sink

__all__ = ["SinkProcess", "mlflow_run_id", "start_sink", "sync", "tracking_uri", "ui_command"]
