"""Ctrl-C and SIGTERM in two stages: the first signal asks to stop and save, a second one kills.

Used by every process that waits for others: a launcher that follows its job, torchrun's supervisor, a sweep's driver
and the platform's supervisor. The training process itself has rules of its own (forked data loader processes, ranks
that stop after the same iteration, signals that stay ignored after the block) in ``trainer.engine.stop_signals``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopHandler:
    """Receives SIGINT and SIGTERM while the block runs; the handlers from before come back when it ends.

    Outside of the main thread, where Python allows no handlers, the block runs without.

    Args:
        on_signal: called with the signal's number and how many came so far, from 1; it may raise. None: the signals
            are only counted.

    Attributes:
        received: the first signal's number; None before any.
        count: how many signals came.

    >>> import os, signal
    >>> with StopHandler(lambda number, count: print("save and stop" if count == 1 else "kill")) as stop:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     os.kill(os.getpid(), signal.SIGINT)
    save and stop
    kill
    >>> stop.received == signal.SIGTERM, stop.count
    (True, 2)
    """

    def __init__(self, on_signal: Callable[[int, int], object] | None = None) -> None:
        self.received: int | None = None
        self.count = 0
        self._on_signal = on_signal
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopHandler:
        try:
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        except ValueError:
            self._previous.clear()  # not the main thread
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.received = self.received or signum
        self.count += 1
        if self._on_signal is not None:
            self._on_signal(signum, self.count)
