"""Which trial this driver works on next: one that was left, or a new one; and what the store says of all of them."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Container, Hashable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from trainer.core.errors import ResourceError
from trainer.core.locks import LockHeld, locked
from trainer.sweep.driver.lease import LeaseOwner, LeaseWatch, is_alive
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.study_setup import OpenedStudy
from trainer.sweep.stores.trial_store import TrialGone, TrialRecord, active, is_surplus

logger = logging.getLogger("trainer")

# Between two who claim the same trial from different places: who wrote last has it.
SETTLE_SECONDS = 1.0
# An orphan has been told by the system to save and end; then by us, at once; then it is killed.
ORPHAN_SECONDS = ((120.0, signal.SIGTERM), (180.0, getattr(signal, "SIGKILL", signal.SIGTERM)))
MOST_REFUSED = 1000


class TrialAllocation:
    """Takes trials for a driver, so that there are never more than were asked for, whoever else takes some."""

    def __init__(self, plan: SweepPlan, opened: OpenedStudy, owner: LeaseOwner) -> None:
        self.plan, self.store, self.grid, self.owner = plan, opened.store, opened.grid, owner
        self.shared, self._lock = opened.shared, opened.folder.dir / ".asking"
        self.records: list[TrialRecord] = []
        self.looked = 0.0
        self._watch = LeaseWatch(owner, plan.sweep.lease_seconds)
        self._old_failures: set[int] | None = None
        self._orphans: dict[int, float] = {}

    def look(self) -> None:
        """Read the store."""
        self.records = self.store.trials()
        self.looked = time.monotonic()
        if self._old_failures is None:
            # A combination that failed before this call may be tried again: that is why it was called.
            self._old_failures = {one.number for one in self.records if one.state == states.FAIL}

    @property
    def counted(self) -> int:
        """Trials that have ended and count."""
        return sum(record.finished for record in self.records)

    @property
    def going_on(self) -> bool:
        """Whether a trial runs, here or elsewhere."""
        return any(record.state == states.RUNNING for record in self.records)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to begin."""
        if self.grid is not None:
            return self._open_point() is None
        return self.counted >= self.plan.n_trials

    @property
    def unmended(self) -> list[TrialRecord]:
        """Trials that failed, and whose values haven't been tried again with better luck."""
        failed = [one for one in self.records if one.state == states.FAIL and not one.withdrawn]
        tried = {_point(record.params) for record in active(self.records)} if failed else set()
        return [record for record in failed if _point(record.params) not in tried]

    def owns(self, number: int) -> bool:
        """Whether a running trial is still this driver's, as of the last look."""
        record = next((one for one in self.records if one.number == number), None)
        return record is not None and record.state == states.RUNNING and self.owner.owns(record)

    def take_over(self, mine: Container[int], say: Callable[[str], None]) -> TrialRecord | None:
        """A running trial that nobody works on any more; ``mine`` are those that this driver does."""
        for record in self.records:
            if record.state != states.RUNNING or record.number in mine:
                continue
            if not self.owner.owns(record):  # else one that was asked for while the store went away
                if not self._watch.abandoned(record) or self._has_orphan(record):
                    continue
                say(f"trial {record.number} goes on: its driver has gone")
            if taken := self._take(record):
                return taken
        return None

    def ask(self) -> TrialRecord | None:
        """A new trial, if there is to be one more."""
        for _ in range(MOST_REFUSED):
            with self._alone():
                record = self._ask()
            if record is None:
                return None
            refused = self.plan.space.refused(record.params)
            if not refused:
                return record
            self._refuse(record, refused)
        raise ResourceError(
            f"{MOST_REFUSED} times in a row the sampler chose values that don't fulfil sweep.constraints"
        )

    def _ask(self) -> TrialRecord | None:
        self.look()
        params = None
        if self.grid is not None:
            params = self._open_point()
            if params is None:
                return None
        elif sum(one.finished or one.state == states.RUNNING for one in self.records) >= self.plan.n_trials:
            return None
        record = self.store.ask({"lease": self.owner.lease()}, params)
        self.look()
        if not self._is_surplus(record):
            return record
        with suppress(TrialGone):
            self.store.note(record.number, {"withdrawn": True})
        self.store.finish(record.number, states.FAIL)
        return None

    def _take(self, record: TrialRecord) -> TrialRecord | None:
        with self._alone():
            self.look()
            now = self.records[record.number]
            if now.state != states.RUNNING or now.notes.get("lease") != record.notes.get("lease"):
                return None
            try:
                taken = self.store.take(record.number, {"lease": self.owner.lease()})
            except TrialGone:
                return None
        if self.shared:
            time.sleep(SETTLE_SECONDS)
            self.look()
            return self.records[record.number] if self.owns(record.number) else None
        return taken

    def _refuse(self, record: TrialRecord, constraints: list[str]) -> None:
        """Values that break a constraint by themselves are not tried; the sampler learns of it."""
        figures = self.plan.space.figures(record.params)
        violations = {
            constraint.text: constraint.violation(figures) or 0.0
            for constraint in self.plan.space.constraints
            if constraint.text in constraints
        }
        with suppress(TrialGone):
            self.store.note(record.number, {"refused": constraints})
        self.store.finish(record.number, states.PRUNED, constraints=violations)

    def _open_point(self) -> dict[str, Any] | None:
        """The first combination of the grid that nobody has tried, but for those that failed before this call."""
        assert self.grid is not None
        tried = {
            _point(record.params)
            for record in self.records
            if not record.withdrawn
            and (record.state != states.FAIL or record.number not in (self._old_failures or ()))
        }
        wanted = self.grid[: self.plan.n_trials]
        return next((point for point in wanted if _point(point) not in tried), None)

    def _is_surplus(self, mine: TrialRecord) -> bool:
        if self.grid is None:
            return is_surplus(mine, self.records, self.plan.n_trials)
        return any(one.number < mine.number and one.params == mine.params for one in active(self.records))

    def _has_orphan(self, record: TrialRecord) -> bool:
        """Whether the process of an abandoned trial is still there and saves; it isn't waited for without end."""
        process = self._watch.orphan(record)
        if process is None:
            return False
        since = time.monotonic() - self._orphans.setdefault(record.number, time.monotonic())
        for patience, signum in ORPHAN_SECONDS:
            if since > patience and is_alive(process):
                with suppress(OSError):
                    os.kill(process[0], signum)
        return True

    def _alone(self) -> ExitStack:
        """Keep drivers of the same folder from asking and taking meanwhile: they would only have to give back."""
        stack = ExitStack()
        with suppress(LockHeld):
            stack.enter_context(locked(self._lock, 10.0))
        return stack


def _point(params: Mapping[str, Any]) -> Hashable:
    """Values as what a set holds; those that are equal are the same."""
    return frozenset((name, _held(value)) for name, value in params.items())


def _held(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return _point(value)
    return tuple(map(_held, value)) if isinstance(value, (list, tuple)) else value
