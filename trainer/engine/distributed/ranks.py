"""Several processes that train together: who is who, what one tells the others, how they agree.

``torchrun`` and its like say so in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). The
first process alone prepares data, makes the run directory and writes into it. Imports no torch by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trainer.core.errors import TrainerError

if TYPE_CHECKING:
    pass

T = TypeVar("T")


class FirstRankFailed(Exception):
    """The first process failed, and says so itself; ``error`` is why."""

    def __init__(self, error: TrainerError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass
class RankEnd:
    """How another process ended before its time.

    Args:
        error: why; None when a signal stopped it.
        signum: that signal.
        trace: where it happened, for the log file.
        lost: it said nothing: it isn't there any more.
    """

    rank: int
    error: TrainerError | None = None
    signum: int | None = None
    trace: str | None = None
    lost: bool = False


class Ranks:
    """A training of one process: everybody is the first, everything is agreed on."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    # --- agreeing -------------------------------------------------------------------------------------------

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, in all of them.

        Raises:
            FailedElsewhere: it failed there.
        """
        return make()

    def after_first(self, make: Callable[[], T]) -> T:
        """``make`` in every process, in the first one before the others: they find its files, and where it fails
        they needn't say so too."""
        return make()

    def most(self, flag: int) -> int:
        """The largest of the processes' flags. All of them have to ask."""
        return flag

    def most_lately(self, flag: int) -> int:
        """As :meth:`most`, without waiting for the others: what they said when this was asked last."""
        return flag

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The means over all processes, in the first one; each one's own in the others. All of them have to ask."""
        return values

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the first one; an empty list in the others."""
        return [value]

    def share(self, tensors: Iterable[Any]) -> None:
        """Give the tensors of all processes the first one's values."""

    # --- ending ---------------------------------------------------------------------------------------------

    def failed(self, error: TrainerError, trace: str | None = None) -> None:
        """Tell the others why this process ends."""

    def stopped(self, signum: int) -> None:
        """Tell the others that a signal has ended this process without their having agreed on it."""

    def other_end(self, seconds: float = 0.0) -> RankEnd | None:
        """How another process ended, the earliest if several did; None while none has after so many seconds."""
        return None

    def done(self) -> None:
        """The first process has written everything."""

    def wait_for_first(self) -> None:
        """Wait until :meth:`done`, or until there is no first process any more: whoever ends a training's processes
        when one of them has ended would cut off its writing."""

    def leave(self) -> None:
        """The end of a training that went well."""
