"""Starting the trackers of a training, each a process of its own, and waiting a little for them at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.cli_text import program, short
from trainer.core.errors import TrainerError
from trainer.core.installation import child_environment
from trainer.core.processes import start_in_background
from trainer.runs.events.sink import Cursor, cursor_file
from trainer.runs.run import Run
from trainer.runs.tracking_uri import ENVIRONMENT
from trainer.schema import Tracking
from trainer.tracking.tracker import tracker_class, tracker_names

logger = logging.getLogger("trainer")


@dataclass
class SinkProcess:
    """The trackers' processes by name; empty where nothing is tracked."""

    run_dir: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` and ``result.json`` should hold, such as ``mlflow_run_id``."""
        return {
            name: value
            for tracker in self.processes
            for name, value in tracker_class(tracker).facts(self.run_dir).items()
        }

    def wait(self, seconds: float) -> bool:
        """Wait until the trackers have all of a run that has ended; False, with a warning each, if they don't.

        A tracker goes on by itself for a minute; nothing is lost if it gives up.

        Args:
            seconds: the longest time to wait, for all of them together.
        """
        deadline = time.monotonic() + seconds
        complete = [self._wait(name, max(0.0, deadline - time.monotonic())) for name in self.processes]
        return all(complete)

    def _wait(self, name: str, seconds: float) -> bool:
        try:
            if self.processes[name].wait(seconds) == 0:
                return True
            running = False
        except subprocess.TimeoutExpired:
            running = True
        cursor = Cursor.load(cursor_file(self.run_dir, name))
        reason = cursor.error if cursor else None
        catch_up = f"{program()} replay {short(self.run_dir)} sink={name}"
        destination = self._destination(name)
        if reason or not running:
            reason = (reason or f"see {log_file(self.run_dir, name)}").splitlines()[0][:300]
            logger.warning("%s doesn't have all of this run (%s); later: %s", destination, reason, catch_up)
        else:
            logger.warning("%s is still receiving this run; if that is cut off: %s", destination, catch_up)
        return False

    def _destination(self, name: str) -> str:
        try:
            return tracker_class(name)(Run.open(self.run_dir)).destination
        except (TrainerError, OSError):  # only a name for a warning
            return name


def start_sink(
    run: Run, tracking: Tracking, output_dir: str | Path, experiment: str | None = None
) -> SinkProcess:
    """Start the trackers of a run.

    Args:
        output_dir: the folder of all runs.
        experiment: the experiment's name where ``tracking`` has none.

    Raises:
        ConfigError: a tracker that there is not, or a setting that it can't work with.
    """
    handle = SinkProcess(run.dir)
    if int(os.environ.get("RANK") or 0) > 0:
        return handle  # of a training's processes, only the first one is tracked
    for name in tracker_names(tracking):
        variables = tracker_class(name).prepare(run, tracking, output_dir, experiment)
        if process := _spawn(run, name, variables):
            handle.processes[name] = process
    return handle


def log_file(run_dir: Path, name: str = "mlflow") -> Path:
    """What a tracker's process wrote to its standard output and error."""
    return run_dir / "sinks" / f"{name}.log"


def environment(uri: str | None) -> dict[str, str]:
    """The variables of a process that reports to the MLflow at ``uri``, and finds this package."""
    return child_environment({**os.environ, **({ENVIRONMENT: uri} if uri else {})})


def _spawn(run: Run, name: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    size = run.events.stat().st_size if run.events.exists() else 0
    command = [sys.executable, "-m", "trainer.tracking", name, str(run.dir), str(os.getpid()), str(size)]
    try:
        variables = child_environment({**os.environ, **variables})
        return start_in_background(command, log=log_file(run.dir, name), environment=variables)
    except OSError as error:
        logger.warning("%s doesn't get this run: its process can't be started (%s)", name, error)
        return None
