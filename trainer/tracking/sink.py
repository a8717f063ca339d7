"""Telling MLflow what the event log says: along with a run, or afterwards. Saying it twice changes nothing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from trainer.config.schema import Tracking
from trainer.errors import ConfigError
from trainer.events.reader import read
from trainer.run import Run
from trainer.tracking import describe
from trainer.tracking.client import BATCH_POINTS, Tracker, is_final
from trainer.tracking.points import STATUS, Point, points_of
from trainer.tracking.state import Progress, State, load, locked
from trainer.tracking.uri import scrubbed, tracking_uri, with_credentials, without_credentials

logger = logging.getLogger("trainer")

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
LONGEST_PAUSE = 5.0
AT_START = ("config.yaml", "overrides.yaml", "mmengine.py")
AT_END = (*AT_START, "run.json", "train.log", "result.json")
BEST = "checkpoints/best.pth"


def sync(run_dir: str | Path, uri: str | None = None, patience: float = 20.0) -> State:
    """Tell MLflow all that the log of a run says and it doesn't know yet; returns when it is told.

    The result's ``error`` says why that failed, None when it did not.

    Args:
        run_dir: the run directory.
        uri: another server than the run was tracked on; it is told everything.
        patience: seconds to wait for a server that doesn't answer.

    Raises:
        ConfigError: no run directory.
        ResourceError: another process is telling MLflow about this run.
    """
    return _Delivery(Run.open(run_dir), patience, uri=uri).run(lambda: False)


def follow(run_dir: str | Path, pid: int, after: int = 0, patience: float = PATIENCE_SECONDS) -> State:
    """Tell MLflow about a run while it goes on; returns after its last word, or when process ``pid`` is gone.

    ``after`` is the size of the log when the process began: last words before it are an earlier attempt's.
    """
    return _Delivery(Run.open(run_dir), patience, after=after, following=True).run(_is_alive(pid))


@dataclass
class _Delivery:
    run_: Run
    patience: float
    uri: str | None = None
    after: int = 0
    following: bool = False
    tracker: Tracker | None = field(default=None, init=False)
    described: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.scanned = self.after

    def run(self, alive: Callable[[], bool]) -> State:
        with locked(self.run_.dir / "sinks" / "mlflow.lock", self.patience):
            self.state = self._load()
            pause, deadline = 0.5, None
            while True:
                # Asked before the log is read: what was written before the end is then surely told.
                over = not alive() or self._has_ended()
                try:
                    self._catch_up()
                    if over:
                        self._finish()
                        return self._note(None)
                    pause, deadline = 0.5, None
                    self._note(None)
                    time.sleep(POLL_SECONDS)
                except Exception as error:  # MLflow lets through what its transports raise
                    self._note(scrubbed(f"{type(error).__name__}: {error}"))
                    if is_final(error):
                        return self.state
                    if over:
                        deadline = deadline or time.monotonic() + self.patience
                        if time.monotonic() >= deadline:
                            return self.state
                    time.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)

    def _load(self) -> State:
        state = load(self.run_.dir) or _from_config(self.run_)
        if self.uri:
            uri = tracking_uri(Tracking(uri=self.uri), self.run_.dir)
            if without_credentials(uri) != state.uri:
                state.uri = without_credentials(uri)
                state.forget()
        return state

    def _catch_up(self) -> None:
        tracker, run_id = self._open()
        progress, points, uploads = self.state.progress, list[Point](), list(AT_START)
        for event, offset in read(self.run_.events, progress.offset):
            new, progress = points_of(event, replace(progress, offset=offset))
            points += new
            if event["type"] == "artifact" and isinstance(event.get("path"), str):
                uploads.append(event["path"])
            if len(points) >= BATCH_POINTS:
                self._send(tracker, run_id, points, uploads, progress)
                points, uploads = [], []
        self._send(tracker, run_id, points, uploads, progress)
        self._tell_status()

    def _send(
        self, tracker: Tracker, run_id: str, points: list[Point], uploads: list[str], progress: Progress
    ) -> None:
        """Progress comes last: after a kill in between it is all sent again, the other way round it would be lost."""
        tracker.log(run_id, points)
        for path in uploads:
            self._upload(path)
        if progress != self.state.progress:
            self._advance(progress)

    def _open(self) -> tuple[Tracker, str]:
        """The server, and the run's id on it; made when it isn't there."""
        state = self.state
        uri = with_credentials(state.uri)
        if self.uri and without_credentials(self.uri) == state.uri:
            uri = self.uri
        tracker = self.tracker = self.tracker or Tracker(uri)
        if self.described and state.mlflow_run_id:
            return tracker, state.mlflow_run_id
        if state.mlflow_run_id and not tracker.has_run(state.mlflow_run_id):
            state.forget()  # A database that was thrown away: tell it all again.
        tags = describe.tags(self.run_.dir)
        if state.mlflow_run_id is None:
            created = self.run_.facts.get("created")
            start = int(float(created) * 1000) if created else None
            state.mlflow_run_id = tracker.find_or_create_run(state.experiment, state.run_name, start, tags)
            state.save(self.run_.dir)
        tracker.describe(state.mlflow_run_id, describe.parameters(self.run_.dir), tags)
        self.described = True
        return tracker, state.mlflow_run_id

    def _finish(self) -> None:
        if self.following and self.state.progress.status == "RUNNING":
            # The process has gone without a last word. A resumed run opens its MLflow run again.
            self._advance(replace(self.state.progress, status="KILLED", ended=time.time()))
        self.described = False  # run.json and config.yaml may say more than when the run began.
        for path in (*AT_END, *([BEST] if self.state.log_checkpoint else [])):
            self._upload(path)
        self._tell_status()

    def _upload(self, path: str) -> None:
        """Upload a file of the run directory unless it is there as it is."""
        file = (self.run_.dir / path).resolve()
        root = self.run_.dir.resolve()
        if not file.is_file() or root not in file.parents:
            return
        facts = file.stat()
        signature = f"{facts.st_size}-{facts.st_mtime_ns}"
        if self.state.artifacts.get(path) == signature:
            return
        tracker, run_id = self._open()
        folder = Path(path).parent.as_posix()
        tracker.upload(run_id, file, None if folder == "." else folder)
        self.state.artifacts[path] = signature
        self.state.save(self.run_.dir)

    def _tell_status(self) -> None:
        progress = self.state.progress
        if progress.status != self.state.status_told:
            tracker, run_id = self._open()
            tracker.set_status(run_id, progress.status, progress.ended)
            self.state.status_told = progress.status
            self.state.save(self.run_.dir)

    def _advance(self, progress: Progress) -> None:
        self.state.progress = progress
        self.state.save(self.run_.dir)

    def _has_ended(self) -> bool:
        """Whether the log has this attempt's last word, told or not."""
        for event, offset in read(self.run_.events, self.scanned):
            self.scanned = offset
            if event["type"] in STATUS:
                self.ended = True
            elif event["type"] in ("run_started", "resumed"):
                self.ended = False
        return self.ended

    def _note(self, error: str | None) -> State:
        if error != self.state.error:
            self.state.error = error
            self.state.save(self.run_.dir)
            if error:
                logger.warning("MLflow: %s", error)
        return self.state


def _from_config(run: Run) -> State:
    """For a run that was trained without MLflow: what its configuration would have meant."""
    try:
        config = yaml.safe_load((run.dir / "config.yaml").read_text())
        known = {
            key: value for key, value in config["tracking"].items() if key in Tracking.__dataclass_fields__
        }
        tracking = Tracking(**known)
        output_dir = Path(run.dir).parents[1]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{run.dir / 'config.yaml'}: can't tell where to track this run ({error!r})"
        ) from error
    return state_for(run, tracking, tracking_uri(tracking, output_dir))


def state_for(run: Run, tracking: Tracking, uri: str, experiment: str | None = None) -> State:
    """The state of a run that nobody has been told about."""
    return State(
        uri=without_credentials(uri),
        experiment=tracking.experiment or experiment or run.experiment,
        run_name=tracking.run_name or run.id,
        log_checkpoint=tracking.log_checkpoint,
    )


def _is_alive(pid: int) -> Callable[[], bool]:
    """Whether a process is there; of a parent that is asked in a way that a reused number can't fool."""
    if os.name != "nt" and os.getppid() == pid:
        return lambda: os.getppid() == pid

    def alive() -> bool:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    return alive
