"""How far MLflow has been told about a run: ``sinks/mlflow.json`` in the run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from trainer.errors import ResourceError
from trainer.storage import atomic_write


@dataclass(frozen=True)
class Progress:
    """Where the reading of the event log stands.

    Attributes:
        offset: bytes of events.jsonl that MLflow has been told about.
        iterations: iterations planned, None when not known yet.
        by_iteration: whether the loop counts iterations, not epochs.
        slot: the part of the run (see :mod:`trainer.tracking.points`) that already has its train values.
        status: what MLflow's run status should be.
        ended: unix seconds of the last word (finished, failed, cancelled), None while there is none.
    """

    offset: int = 0
    iterations: int | None = None
    by_iteration: bool = False
    slot: int = -1
    status: str = "RUNNING"
    ended: float | None = None


@dataclass
class State:
    """Where to tell it, and what has been told. Holds no credentials.

    Attributes:
        artifacts: path -> size and time of change of what was uploaded.
        status_told: the run status MLflow has.
        error: why the last attempt didn't get through, None when all is well.
    """

    uri: str
    experiment: str
    run_name: str
    log_checkpoint: bool = True
    mlflow_run_id: str | None = None
    progress: Progress = field(default_factory=Progress)
    artifacts: dict[str, str] = field(default_factory=dict)
    status_told: str | None = None
    error: str | None = None

    def forget(self) -> None:
        """Begin anew, as for a server that has never heard of the run."""
        self.mlflow_run_id, self.progress, self.artifacts, self.status_told = None, Progress(), {}, None

    def save(self, run_dir: Path) -> None:
        atomic_write(_file(run_dir), json.dumps(asdict(self), indent=2) + "\n")


def load(run_dir: str | Path) -> State | None:
    """The state of a run, None when MLflow was never told about it or the file is damaged (then all is told again,
    which a server that knows it already doesn't count twice)."""
    try:
        values: dict[str, Any] = json.loads(_file(Path(run_dir)).read_text())
        return State(**{**values, "progress": Progress(**values["progress"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def mlflow_run_id(run_dir: str | Path) -> str | None:
    """The id of the MLflow run, None as long as no server has given one."""
    state = load(run_dir)
    return state.mlflow_run_id if state else None


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold a file's lock; it is freed by the system when this process dies.

    Raises:
        ResourceError: another process holds it for longer than ``seconds``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        deadline = time.monotonic() + seconds
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise ResourceError(f"another process is busy with it ({path} is locked)")
            time.sleep(0.2)
        try:
            yield
        finally:
            _unlock(file)


def _file(run_dir: Path) -> Path:
    return run_dir / "sinks" / "mlflow.json"


def _try_lock(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
            return True
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A file system without locks: better to go on than never to start.
    return True


def _unlock(file: IO[bytes]) -> None:
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
