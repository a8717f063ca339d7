"""Trials in processes of their own: started cold, or forked warm from one that has imported everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Child(Protocol):
    """A trial's process. It leads a session (and process group) of its own."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code, negative when a signal ended it (as in ``subprocess``); None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises ``TimeoutError``."""

    def signal(self, signum: int) -> None:
        """Send a signal to the process; nothing when it has ended."""


class Pool(Protocol):
    """Starts trials. ``WarmPool(program=None)`` and ``Cold(program)`` are pools.

    A pool is a context manager; ``close`` ends what still runs (SIGTERM, then SIGKILL).
    """

    def start(self) -> None:
        """Begin to import, in the background; returns at once."""

    def run(self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Child:
        """Start ``python -m trainer <words>`` with the variables ``env`` set besides the driver's own and
        stdout and stderr appended to ``log``; waits for a warm process to be ready."""

    def close(self) -> None: ...

    @property
    def alive(self) -> bool:
        """Whether it can start processes as it was made to; a dead warm pool starts cold ones."""
