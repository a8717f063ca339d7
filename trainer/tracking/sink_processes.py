"""Starting the sinks beside a training, each a process of its own, and waiting a little for them at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from trainer.core.cli_text import program, short
from trainer.core.installation import child_environment
from trainer.core.processes import start_in_background
from trainer.runs.run import Run
from trainer.runs.tracking_uri import ENVIRONMENT, tracking_uri
from trainer.schema import Tracking
from trainer.tracking.mlflow_sink import state_for
from trainer.tracking.mlflow_state import NAME, load, mlflow_run_id
from trainer.tracking.tensorboard_sink import NAME as TENSORBOARD

logger = logging.getLogger("trainer")


@dataclass
class SinkProcess:
    """The sinks' processes; ``process`` is MLflow's, None where nothing is tracked."""

    run_dir: Path
    process: subprocess.Popen[bytes] | None = None
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def mlflow_run_id(self) -> str | None:
        return mlflow_run_id(self.run_dir) if self.process else None

    def wait(self, seconds: float) -> bool:
        """Wait at most so long until MLflow knows all of a run that has ended; False, with one warning, if not.

        The sink goes on by itself for a minute; nothing is lost if it gives up.
        """
        until = time.monotonic() + seconds
        told = self._wait_for_mlflow(seconds)
        for other in self.others:
            try:
                other.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue  # it goes on by itself
        return told

    def _wait_for_mlflow(self, seconds: float) -> bool:
        if self.process is None:
            return True
        try:
            if self.process.wait(seconds) == 0:
                return True
            going_on = False
        except subprocess.TimeoutExpired:
            going_on = True
        state = load(self.run_dir)
        server, reason = (state.uri, state.error) if state else ("MLflow", None)
        catch_up = f"{program()} replay {short(self.run_dir)} sink=mlflow"
        if reason or not going_on:
            reason = (reason or f"see {log_file(self.run_dir)}").splitlines()[0][:300]
            logger.warning(
                "MLflow at %s doesn't have all of this run (%s); later: %s", server, reason, catch_up
            )
        else:
            logger.warning(
                "MLflow at %s is still being told about this run; if that is cut off: %s", server, catch_up
            )
        return False


def start_sink(
    run: Run, tracking: Tracking, output_dir: str | Path, experiment: str | None = None
) -> SinkProcess:
    """Start telling MLflow, and TensorBoard's file, about a run, in processes that no Ctrl-C in the terminal reaches.

    Args:
        run: the run; a resumed one goes on in its MLflow run.
        tracking: the configuration; with ``name`` none MLflow isn't told.
        output_dir: where the SQLite file is when no server is named.
        experiment: the MLflow experiment's name when the configuration has none; None: the run's experiment.

    Raises:
        ConfigError: a tracking URI that MLflow can't write to.
    """
    handle = SinkProcess(run.dir)
    if int(os.environ.get("RANK") or 0) > 0:
        return handle  # of a training's processes, the first one tells
    if tracking.name != "none":
        uri = tracking_uri(tracking, output_dir)
        state = state_for(run, tracking, uri, experiment)
        before = load(run.dir)
        if before and before.uri == state.uri:
            before.run_name, before.error = state.run_name, None
            before.log_checkpoint, before.register = state.log_checkpoint, state.register
            state = before
        state.save(run.dir / "sinks" / f"{NAME}.json")
        handle.process = _spawn(run, NAME, uri)
    if tracking.tensorboard:
        other = _spawn(run, TENSORBOARD)
        handle.others += [other] if other else []
    return handle


def log_file(run_dir: Path, name: str = NAME) -> Path:
    return run_dir / "sinks" / f"{name}.log"


def _spawn(run: Run, sink: str, uri: str | None = None) -> subprocess.Popen[bytes] | None:
    size = run.events.stat().st_size if run.events.exists() else 0
    command = [sys.executable, "-m", "trainer.tracking", sink, str(run.dir), str(os.getpid()), str(size)]
    try:
        return start_in_background(command, log=log_file(run.dir, sink), environment=environment(uri))
    except OSError as error:
        logger.warning("%s isn't told about this run: its process can't be started (%s)", sink, error)
        return None


def environment(uri: str | None) -> dict[str, str]:
    """The variables of a process that tells MLflow at ``uri``, and finds this package."""
    # In the environment, not on the command line, which everybody on the machine can read: it may hold a password.
    return child_environment({**os.environ, **({ENVIRONMENT: uri} if uri else {})})
