"""Ctrl-C and SIGTERM while a sweep runs: counted, and heeded by the driver between two turns."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class DriverSignals:
    """Counts the signals while the block runs; the handlers from before come back when it ends."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> DriverSignals:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        except ValueError:
            self._before.clear()  # not the main thread: whoever owns it decides
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.received = self.received or signum
        self.count += 1
