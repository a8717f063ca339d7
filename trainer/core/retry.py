"""How often something is tried that depends on a server, and how long to wait in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trainer.core.remote_faults import TransientFault

TRIES = 6
PAUSE = 0.5  # seconds before the second try; tests shorten it

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Try again after a :class:`TransientFault`; every other exception is final.

    >>> answers = iter([TransientFault("busy"), "content"])
    >>> def read() -> str:
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> RetryPolicy(tries=2).call(read, wait=lambda seconds: None)
    'content'

    Attributes:
        tries: how many in a row may fail without progress.
    """

    tries: int = TRIES

    def call(
        self,
        action: Callable[[], T],
        *,
        progress: Callable[[], int] = lambda: 0,
        on_fault: Callable[[TransientFault], object] = lambda fault: None,
        wait: Callable[[float], object] = time.sleep,
    ) -> T:
        """Return what ``action`` returns, tried again after transient faults.

        Args:
            action: called without arguments.
            progress: how far the work is, in bytes. A try that got further starts the count of tries again.
            on_fault: called with the fault before each pause.
            wait: waits that many seconds.

        Raises:
            TransientFault: that of the last try.
        """
        failures, reached = 0, progress()
        while True:
            try:
                return action()
            except TransientFault as error:
                fault = error
            before, reached = reached, progress()
            failures = 0 if reached > before else failures + 1
            if failures >= self.tries:
                raise fault
            on_fault(fault)
            wait(pause_after(failures))


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and random, so that clients spread out."""
    return PAUSE * 2.0 ** max(0, failures - 1) * random.uniform(0.5, 1.0)
