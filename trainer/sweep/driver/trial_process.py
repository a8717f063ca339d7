"""A trial's process: cold, a program of its own. Warm ones, forked, are in :mod:`trainer.sweep.driver.fork_client`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from trainer.core.processes import start_in_background
from trainer.sweep.driver.lease import Process, identify_process


class Child(Protocol):
    """A trial's process, however it was started."""

    here: bool  # whether it runs on this machine

    @property
    def identity(self) -> Process | str | None:
        """The process, or the handle of what a launcher started; None as long as it has none."""

    @property
    def reason(self) -> str | None:
        """Why it ended, where its exit code and what it printed don't say."""

    def poll(self) -> int | None:
        """Its exit code, negative when a signal ended it; None while it runs."""

    def signal(self, signum: int) -> None:
        """Send it a signal; nothing happens where it has ended."""


class TrialLauncher(Protocol):
    """Starts trials."""

    def run(self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Child:
        """Start the program with these words.

        Args:
            env: variables besides those of this process.
            log: takes what the process says, after what is there.
        """

    def find(self, log: Path) -> Child | None:
        """A trial that another driver has begun and that goes on without it, by its log; None: there is none."""

    def close(self) -> None: ...


class ColdLauncher:
    """Starts a program anew for each trial.

    Args:
        program: what the command line begins with.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self.program = list(program)

    def run(
        self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> ColdChild:
        # Ctrl-C reaches the driver alone, which passes on what is meant.
        process = start_in_background(
            [*self.program, *words],
            log=log,
            environment={**os.environ, **env},
            cwd=cwd,
            stop_with_parent=True,
        )
        return ColdChild(process)

    def find(self, log: Path) -> Child | None:
        return find_launched(log)

    def close(self) -> None:
        pass


class ColdChild:
    here = True
    reason: str | None = None

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.identity: Process | str | None = identify_process(process.pid)

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signum)


def find_launched(log: Path) -> Child | None:
    """The job of a trial that a launcher has begun for another driver; see
    :mod:`trainer.sweep.driver.launcher_trials`."""
    if not log.with_suffix(".job").is_dir():
        return None
    from trainer.schema import LauncherConfig
    from trainer.sweep.driver.launcher_trials import LauncherTrials

    return LauncherTrials(LauncherConfig()).find(log)
