"""Ends a process whose training thread waits for ever for another one that has ended.

Over gloo such waiting ends by itself, when the other's connections close. A step on GPUs that waits for another's
doesn't.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from trainer.engine.distributed.ranks import RankEnd, Ranks

LOOK_SECONDS = 1.0
# For the training thread to notice by itself.
GRACE_SECONDS = 15.0


class RankWatchdog:
    """While the block runs, looks for other processes that have ended.

    Args:
        give_up: called, on the watching thread, when the block still runs some seconds later; it ends this process.
        grace: those seconds; None for the usual ones.
    """

    def __init__(self, ranks: Ranks, give_up: Callable[[RankEnd], None], grace: float | None = None) -> None:
        self._ranks, self._give_up, self._grace = ranks, give_up, GRACE_SECONDS if grace is None else grace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="other-processes", daemon=True)

    def __enter__(self) -> RankWatchdog:
        if self._ranks.size > 1:
            self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            end = self._ranks.other_end()
            if end is None:
                continue
            if end.rank == 0 and not end.lost:
                self._ranks.wait_for_first()  # it writes what there is to say
            if not self._over.wait(self._grace):
                self._give_up(end)
            return
