"""Where a sweep's trials are kept, whatever keeps them: Optuna's storages, or a file of our own for a plain grid.

Several drivers may use one store at a time, on one machine or on many. What keeps the count right between them is
the store's: numbers are given in order and never twice, and a trial ends once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer.core.errors import ResourceError

WAITING, RUNNING, COMPLETE, PRUNED, FAIL = "waiting", "running", "complete", "pruned", "failed"
FINISHED = (COMPLETE, PRUNED)  # what counts towards sweep.n_trials


class StoreDown(ResourceError):
    """The store doesn't answer now; it may later."""


class TrialGone(Exception):
    """The trial isn't running any more: another driver has ended it."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the store has it.

    Attributes:
        number: 0, 1, 2, ... within the sweep.
        params: the searched values, by key.
        values: one for each objective, None unless complete (or pruned after a report).
        notes: what drivers wrote beside it: ``lease``, ``label``, ``run_id``, ``error``, ...
        reported: the primary metric by epoch.
        constraints: 0 or less is fulfilled.
        started: unix seconds.
        ended: unix seconds.
    """

    number: int
    state: str
    params: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    reported: dict[int, float] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None

    @property
    def finished(self) -> bool:
        """Whether it counts as one of the trials asked for."""
        return self.state in FINISHED and not self.refused

    @property
    def withdrawn(self) -> bool:
        """Asked for by one driver too many, and given back unused."""
        return bool(self.notes.get("withdrawn"))

    @property
    def refused(self) -> bool:
        """Not tried: its values alone broke a constraint."""
        return bool(self.notes.get("refused"))

    @property
    def feasible(self) -> bool:
        return all(value <= 0 for value in self.constraints.values())


class TrialStore(Protocol):
    """Every method raises :class:`StoreDown` where the store can't be reached; calling again is harmless.

    Attributes:
        needs_values: whether a trial can only be complete with a value for each objective.
    """

    needs_values: bool

    def trials(self) -> list[TrialRecord]:
        """All trials, in order of their numbers."""

    def ask(self, notes: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> TrialRecord:
        """Begin a trial: one that waits, else a new one with values from the sampler, or with these ``params``.

        ``notes`` are with it from the start, so that nobody takes it for an abandoned one.
        """

    def take(self, number: int, notes: Mapping[str, Any]) -> TrialRecord:
        """Go on with a running trial that another driver has left. Its values are what they were.

        Raises:
            Gone: it has ended meanwhile.
        """

    def note(self, number: int, notes: Mapping[str, Any]) -> None:
        """Write beside a running trial.

        Raises:
            Gone: it has ended meanwhile.
        """

    def report(self, number: int, step: int, value: float) -> bool:
        """The primary metric after ``step`` epochs; returns whether the pruner would stop the trial.

        Raises:
            Gone: it has ended meanwhile.
        """

    def finish(
        self,
        number: int,
        state: str,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> bool:
        """End a running trial; False when another driver has done so before."""

    def infeasible(self, number: int, name: str) -> bool:
        """End a running trial as one that can't be had, for want of ``name``, so that the sampler learns of it."""

    def about(self) -> dict[str, Any]:
        """What :meth:`describe` wrote, empty at first."""

    def describe(self, about: Mapping[str, Any]) -> None:
        """Say what the sweep is, for those who find the store."""

    def close(self) -> None:
        """Let go of files and connections."""


def active(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that count, or may come to count, towards the number asked for."""
    return [record for record in records if record.state != FAIL and not record.refused]


def is_surplus(mine: TrialRecord, records: Sequence[TrialRecord], n_trials: int) -> bool:
    """Whether a trial that was just asked for is one too many.

    Numbers are given in order, so all with smaller ones are in ``records``. Of any drivers that ask at the same
    moment each sees those before it, and no more than ``n_trials`` are ever kept.
    """
    return sum(record.number < mine.number for record in active(records)) >= n_trials
