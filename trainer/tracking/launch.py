"""Starting the MLflow sink beside a training, and waiting a little for it at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import trainer
from trainer.config.schema import Tracking
from trainer.run import Run
from trainer.tracking.sink import state_for
from trainer.tracking.state import load, mlflow_run_id
from trainer.tracking.uri import ENVIRONMENT, tracking_uri
from trainer.words import program

logger = logging.getLogger("trainer")


@dataclass
class Handle:
    """The sink's process, None where nothing is tracked."""

    run_dir: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def mlflow_run_id(self) -> str | None:
        return mlflow_run_id(self.run_dir) if self.process else None

    def wait(self, seconds: float) -> bool:
        """Wait at most so long until MLflow knows all of a run that has ended; False, with one warning, if not.

        The sink goes on by itself for a minute; nothing is lost if it gives up.
        """
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
        catch_up = f"{program('trainer.tracking')} {self.run_dir}"
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


def start(run: Run, tracking: Tracking, output_dir: str | Path, experiment: str | None = None) -> Handle:
    """Start telling MLflow about a run, in a process of its own that no Ctrl-C in the terminal reaches.

    Args:
        run: the run; a resumed one goes on in its MLflow run.
        tracking: the configuration; with ``name`` none nothing is started.
        output_dir: where the SQLite file is when no server is named.
        experiment: the MLflow experiment's name when the configuration has none; None: the run's experiment.

    Raises:
        ConfigError: a tracking URI that MLflow can't write to.
    """
    if tracking.name == "none":
        return Handle(run.dir)
    uri = tracking_uri(tracking, output_dir)
    state = state_for(run, tracking, uri, experiment)
    before = load(run.dir)
    if before and before.uri == state.uri:
        before.run_name, before.log_checkpoint, before.error = state.run_name, state.log_checkpoint, None
        state = before
    state.save(run.dir)
    size = run.events.stat().st_size if run.events.exists() else 0
    command = [sys.executable, "-m", "trainer.tracking", str(run.dir)]
    command += ["--follow", str(os.getpid()), "--after", str(size)]
    try:
        with log_file(run.dir).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(uri),
            )
    except OSError as error:
        logger.warning("MLflow isn't told about this run: its process can't be started (%s)", error)
        return Handle(run.dir)
    return Handle(run.dir, process)


def log_file(run_dir: Path) -> Path:
    return run_dir / "sinks" / "mlflow.log"


def _environment(uri: str) -> dict[str, str]:
    # In the environment, not on the command line, which everybody on the machine can read: it may hold a password.
    environment = {**os.environ, ENVIRONMENT: uri}
    root = Path(trainer.__file__).resolve().parents[1]
    if root.name not in ("site-packages", "dist-packages"):
        # A checkout that was found through the working directory, which may have changed since.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment
