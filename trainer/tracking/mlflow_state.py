"""How far MLflow has been told about a run: ``sinks/mlflow.json`` in the run directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.runs.events.sink import Cursor, cursor_file

NAME = "mlflow"


@dataclass(frozen=True)
class MlflowProgress:
    """What the events so far mean for those to come.

    Attributes:
        iterations: iterations planned, None when not known yet.
        by_iteration: whether the loop counts iterations, not epochs.
        slot: the part of the run (see :mod:`trainer.tracking.metric_mapping`) that already has its train values.
        samples: ``system`` events so far.
        primary: the primary metric's name.
        mode: max or min, where the primary metric is better.
        best: (iteration, epoch, value) of each validation that was better than all before it.
        status: what MLflow's run status should be.
        ended: unix seconds of the last word (finished, failed, pruned, cancelled), None while there is none.
        time: unix seconds of the last event.
    """

    iterations: int | None = None
    by_iteration: bool = False
    slot: int = -1
    samples: int = 0
    primary: str | None = None
    mode: str = "max"
    best: tuple[tuple[int, int, float], ...] = ()
    status: str = "RUNNING"
    ended: float | None = None
    time: float | None = None


@dataclass
class MlflowState(Cursor):
    """Where to tell it, and what has been told. Holds no credentials.

    Attributes:
        register: the name in the model registry, None for none.
        artifacts: path -> size and time of change of what was uploaded.
        pending: paths that are to be uploaded.
        status_told: the run status MLflow has.
        model: size and time of change of the checkpoint that was logged as a model.
    """

    uri: str = ""
    experiment: str = ""
    run_name: str = ""
    log_checkpoint: bool = True
    register: str | None = None
    mlflow_run_id: str | None = None
    progress: MlflowProgress = field(default_factory=MlflowProgress)
    artifacts: dict[str, str] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    status_told: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        self.progress = progress_from(self.progress)

    def forget(self) -> None:
        """Begin anew, as for a server that has never heard of the run."""
        self.offset, self.mlflow_run_id, self.progress, self.status_told = 0, None, MlflowProgress(), None
        self.artifacts, self.pending, self.model = {}, [], None


def load(run_dir: str | Path, name: str = NAME) -> MlflowState | None:
    """The state of a run, None when MLflow was never told about it or the file is damaged (then all is told again,
    which a server that knows it already doesn't count twice)."""
    return MlflowState.load(cursor_file(Path(run_dir), name))


def name_for(run_dir: Path, uri: str | None) -> str:
    """The cursor's name for an MLflow: the run's own, or another that is only told afterwards.

    A run whose own MLflow never answered becomes the first one's that does.
    """
    own = load(run_dir)
    if uri is None or own is None or own.uri == uri or own.mlflow_run_id is None:
        return NAME
    return f"{NAME}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"


def mlflow_run_id(run_dir: str | Path) -> str | None:
    """The id of the MLflow run, None as long as no server has given one."""
    state = load(run_dir)
    return state.mlflow_run_id if state else None


def progress_from(value: Any) -> MlflowProgress:
    """A :class:`MlflowProgress`, also from the mapping that JSON makes of one."""
    if isinstance(value, MlflowProgress):
        return value
    best = tuple(
        (int(iteration), int(epoch), float(metric)) for iteration, epoch, metric in value.get("best", ())
    )
    return MlflowProgress(**{**value, "best": best})
