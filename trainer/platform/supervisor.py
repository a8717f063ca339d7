"""A child process that does a job, and what this process, perhaps a container's first, owes it: signals passed on,
orphans taken in, and an end in time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from trainer.core.processes import start_in_background
from trainer.core.stop_handler import StopHandler

STOP_SECONDS = 22.0
"""From SIGTERM to this process's own end, which the platform expects within 25 s."""
_POLL = 0.1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Stop:
    """The first signal that asked this process to stop, and when (``time.monotonic()``)."""

    signum: int | None = None
    at: float = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left to end in."""
        return max(0.0, self.at + STOP_SECONDS - time.monotonic()) if self.signum else float("inf")

    @property
    def exit_code(self) -> int | None:
        return 128 + self.signum if self.signum else None


class Terminated(BaseException):
    """SIGTERM or SIGINT came while no child was running: this process ends at once.

    Not an Exception: nothing that catches errors may swallow it.
    """


class Supervisor:
    """Runs children, one after the other, and takes SIGTERM and SIGINT for them.

    Use as a context; handlers from before come back at its end. A signal outside of :meth:`run` and
    :meth:`wait_for_orphans` raises :class:`Terminated`.
    """

    def __init__(self) -> None:
        self.stop = Stop()
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting = False
        self._signals = StopHandler(self._signalled)

    def __enter__(self) -> Supervisor:
        _adopt_orphans()
        self._signals.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._signals.__exit__(*error)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_stop: Callable[[int], None] = lambda signum: None,
    ) -> int:
        """Run a command to its end; returns its exit code, negative for the signal that killed it.

        A stop is passed on; a child that hasn't ended when the time for that is over is killed, with its group.

        Args:
            on_stop: called once after SIGTERM or SIGINT, with its number.
        """
        self._waiting, told = True, False
        # A session of its own: a terminal's Ctrl-C comes through this process alone, and a group can be killed.
        self._child = child = start_in_background(command, environment=environment)
        if self.stop.signum:  # it came while the child was being made
            child.send_signal(self.stop.signum)
        for _ in self._ticks():
            ended = _reap(child)
            if self.stop.signum and not told:
                told = True
                on_stop(self.stop.signum)
            if ended:
                break
            if self.stop.left <= 0:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        if child.returncode < 0:  # what it had started in its group would never end
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        self._child, self._waiting = None, False
        return int(child.returncode)

    def wait_for_orphans(self, seconds: float) -> bool:
        """Wait at most so long, less after a stop, until all that the children left running has ended."""
        self._waiting, until = True, time.monotonic() + seconds
        try:
            for _ in self._ticks():
                if not _reap_any():
                    return True
                if time.monotonic() >= until or self.stop.left <= 0:
                    return False
            return False
        finally:
            self._waiting = False

    def _ticks(self) -> Iterator[None]:
        while True:
            yield
            time.sleep(_POLL)

    def _signalled(self, signum: int, count: int) -> None:
        first = count == 1
        if first:
            self.stop.signum, self.stop.at = signum, time.monotonic()
        # A second SIGTERM would cut off the saving; a second Ctrl-C is meant to.
        if self._child is not None and (first or signum == signal.SIGINT):
            with suppress(ProcessLookupError):
                self._child.send_signal(signum)
        if not self._waiting:
            raise Terminated


def _adopt_orphans() -> None:
    """What a child leaves running becomes a child of this process, in a container or not (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended; orphans that have are taken off the system's table on the way."""
    if hasattr(os, "waitid"):
        while (found := _ended()) is not None and found != child.pid:
            with suppress(ChildProcessError):
                os.waitpid(found, os.WNOHANG)
    return child.poll() is not None


def _reap_any() -> bool:
    """Take ended children off the table; whether any are left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _ended() -> int | None:
    with suppress(ChildProcessError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_pid if found else None
    return None
