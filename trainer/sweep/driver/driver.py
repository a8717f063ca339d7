"""The driver's turns: what ended is told, what is free is filled, what was said by whoever watches is heeded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from trainer.core.stop_handler import StopHandler
from trainer.sweep.driver import outcome as ends
from trainer.sweep.driver.lease import LeaseOwner
from trainer.sweep.driver.report_outcome import report_outcome
from trainer.sweep.driver.running_trial import RunningTrial
from trainer.sweep.driver.slots import Slot
from trainer.sweep.driver.trial_allocation import TrialAllocation
from trainer.sweep.driver.trial_process import TrialLauncher
from trainer.sweep.driver.trial_start import TrialStarter, slots_of
from trainer.sweep.report.live_view import SweepBoard, SweepView, make_view
from trainer.sweep.report.trial_rows import rows
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.study_setup import OpenedStudy
from trainer.sweep.stores.trial_store import StoreDown, TrialGone

POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0  # between two looks at the store while nothing happens here
STORE_PATIENCE = 600.0
BUSY_SECONDS = 2.0
LEAVE_SECONDS = 120.0
WRITE_SHARE = 0.05  # of the driver's time, at most, goes into trials.jsonl while the sweep goes on
# How often more than sweep.retries a trial may be lost with its driver: somebody may have wanted that.
WITH_DRIVER = 3


class Driver:
    """One driver of a sweep; there may be others."""

    def __init__(
        self,
        plan: SweepPlan,
        opened: OpenedStudy,
        owner: LeaseOwner,
        launch: TrialLauncher,
        dirs: Sequence[str] = (),
        view: SweepView | None = None,
    ) -> None:
        self.plan, self.sweep, self.owner = plan, plan.sweep, owner
        self.store, self.folder = opened.store, opened.folder
        self.grid = opened.grid is not None
        self.claims = TrialAllocation(plan, opened, owner)
        self.slots = slots_of(plan)
        self.starter = TrialStarter(plan, self.folder, launch, dirs)
        self.view = view or make_view()
        self.signals = StopHandler()
        self.running: dict[int, RunningTrial] = {}
        self.failures: list[int] = []
        self._beaten = self._idle_until = self._write_after = 0.0
        self._unwritten = False
        self._heeded = 0
        minutes = self.sweep.max_minutes
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._down_since: float | None = None

    def run(self) -> int:
        """Work until the sweep is through, or has to stop; the exit code."""
        with self.signals:
            try:
                self._patiently(self.claims.look)
                self.view.open(self._board())
                while not self._patiently(self._turn):
                    if self.view.due:
                        self.view.show(self._board())
                    time.sleep(POLL_SECONDS)
                self._patiently(self._write_trials)
            except BaseException:
                self._leave()
                raise
            self.view.close(self._board(), self._last_words())
        return self._exit_code()

    def _turn(self) -> bool:
        """One turn of everything; True when there is nothing more to do."""
        self._heed_signals()
        ended = [trial for trial in list(self.running.values()) if self._follow(trial)]
        for trial in ended:
            self._settle(trial)
        self._beat()
        if ended:
            self._idle_until = 0.0
            self._unwritten = True
        if self._unwritten and time.monotonic() >= self._write_after:
            self._write_trials()
        elif time.monotonic() - self.claims.looked > LOOK_SECONDS:
            self.claims.look()
        if self.signals.received is None:
            self._fill()
            for trial in list(self.running.values()):
                if trial.child is None and time.monotonic() >= trial.not_before:
                    self._begin(trial)
        return self._done()

    def _follow(self, trial: RunningTrial) -> bool:
        """Report what a trial has said since; whether it has ended."""
        over = trial.poll() is not None  # first, so that nothing that it said is missed
        trial.look()
        while trial.reports and self.reporting:
            step, value = trial.reports[0]
            try:
                prune = self.store.report(trial.number, step, value)
            except TrialGone:
                self._lose(trial)
                return False
            trial.reports.pop(0)
            if prune and not over and not trial.pruning and self.signals.received is None:
                self.view.say(
                    f"trial {trial.number} is pruned after epoch {step}: {trial.metric} {value:.4g}"
                )
                trial.pruning = True
        if trial.pruning and not over:
            trial.prune()
        return over

    def _settle(self, trial: RunningTrial) -> None:
        """Tell the store how a trial ended, or have it begun again."""
        assert trial.outcome is not None
        kind = trial.outcome.kind
        if kind in (ends.STOPPED, ends.KILLED, ends.BUSY) and self.signals.received is not None:
            self._release(trial)
        elif kind == ends.BUSY:
            self._again(trial, BUSY_SECONDS)
        elif kind in (ends.STOPPED, ends.KILLED) and self._retry(trial):
            self.view.say(f"trial {trial.number}: {trial.outcome.error}; it goes on")
            self._again(trial)
        else:
            self._end(trial)

    def _retry(self, trial: RunningTrial) -> bool:
        """Whether a trial whose process has gone is begun again."""
        trial.lost = 0 if trial.advanced else trial.lost + 1
        return trial.lost <= self.sweep.retries

    def _end(self, trial: RunningTrial) -> None:
        state = report_outcome(self.store, self.plan, trial)
        self.running.pop(trial.number, None)
        if state == states.FAIL:
            self.failures.append(trial.number)
        if state is not None:
            self.claims.look()
            self.view.ended(trial, state, self._board())

    def _again(self, trial: RunningTrial, pause: float = 0.0) -> None:
        trial.child, trial.outcome = None, None
        trial.not_before = time.monotonic() + pause

    def _release(self, trial: RunningTrial) -> None:
        """Leave a trial to whoever goes on with the sweep."""
        with suppress(TrialGone):
            self.store.note(trial.number, {"lease": None})
        self.running.pop(trial.number, None)

    def _lose(self, trial: RunningTrial) -> None:
        """Another driver has the trial: this one was out of reach for too long."""
        self.view.say(f"trial {trial.number} was taken over by another driver")
        trial.stop(at_once=True)
        self.running.pop(trial.number, None)

    def _beat(self) -> None:
        """Say of every trial that it is still worked on; notice those that others have taken."""
        now = time.monotonic()
        if now - self._beaten < self.sweep.lease_seconds / 3 or not self.running:
            return
        self.claims.look()
        for trial in list(self.running.values()):
            try:
                if not self.claims.owns(trial.number):
                    raise TrialGone
                self.store.note(trial.number, {"lease": self.owner.lease(trial.identity)})
            except TrialGone:
                self._lose(trial)
        self._beaten = now

    def _fill(self) -> None:
        """Take as many trials as there is room for."""
        if time.monotonic() < self._idle_until:
            return
        while (slot := self._free()) is not None and not self._closing:
            record = self.claims.take_over(self.running, self.view.say) or self.claims.ask()
            if record is None:  # what is left to do is others'
                self._idle_until = time.monotonic() + LOOK_SECONDS
                return
            trial = self.running[record.number] = self.starter.trial(record, slot)
            if (child := self.starter.find(trial)) is not None:
                self.view.say(f"trial {trial.number} still runs as {child.identity}")
                trial.found(child)
            elif trial.run is not None:
                self._find_out(trial)

    def _find_out(self, trial: RunningTrial) -> None:
        """How far a trial is that was begun before: it may have ended while nobody looked."""
        trial.look()
        trial.outcome = ends.ended(trial.run)
        if trial.outcome is not None and trial.outcome.kind != ends.STOPPED:
            return  # the next turn settles it
        if trial.outcome is None and trial.record.notes.get("marks") == trial.seen.marks:
            trial.lost += 1  # one that takes the machine down with it must not do so for ever
        trial.outcome = None
        if trial.lost > self.sweep.retries + WITH_DRIVER:
            trial.outcome = ends.TrialOutcome(
                ends.KILLED, f"it was lost {trial.lost} times without getting anywhere"
            )

    def _begin(self, trial: RunningTrial) -> None:
        """Start a trial's process."""
        if trial.outcome is not None:
            return
        self.starter.start(trial)
        try:
            lease = {"lease": self.owner.lease(trial.identity)}
            self.store.note(trial.number, {**lease, **self.starter.notes(trial)})
        except TrialGone:
            self._lose(trial)
            return
        self.view.began(trial, self._board())

    def _heed_signals(self) -> None:
        """Once: running trials save and end. Twice: they end."""
        if self.signals.count == self._heeded:
            return
        if not self._heeded:
            self.view.say("stopping: running trials save and end; once more stops at once")
        self._heeded = self.signals.count
        for trial in list(self.running.values()):
            if trial.child is None and trial.outcome is None:
                self._release(trial)
            else:
                trial.stop(at_once=self._heeded > 1)

    def _leave(self) -> None:
        """After an error: running trials save and end, and the next driver goes on with them.

        Waited for, since the end of this process would be a second signal to them.
        """
        for trial in self.running.values():
            trial.stop(at_once=self.signals.count > 1)
        until = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < until and self.signals.count < 2:
            if all(trial.child is None or trial.child.poll() is not None for trial in self.running.values()):
                break
            time.sleep(POLL_SECONDS)
        self.view.close(None)

    def _done(self) -> bool:
        if self.running:
            return False
        if self.signals.received is not None or self._closing:
            return True
        # Another driver's trials are waited for: should it die, they are ours.
        return not self.claims.going_on and self.claims.complete

    @property
    def reporting(self) -> bool:
        """Whether what trials report is an objective; Optuna prunes by a single one."""
        return len(self.plan.objectives) == 1

    @property
    def _closing(self) -> bool:
        """Whether no trial is begun any more."""
        late = self._until is not None and time.monotonic() > self._until
        return late or self._hopeless

    @property
    def _hopeless(self) -> bool:
        return len(self.failures) >= self.sweep.max_failures

    def _free(self) -> Slot | None:
        taken = {trial.slot.number for trial in self.running.values()}
        return next((slot for slot in self.slots if slot.number not in taken), None)

    def _last_words(self) -> list[str]:
        if self.signals.received is not None or not (self.claims.going_on or not self.claims.complete):
            return [] if self.signals.received is None else ["stopped; the same command goes on"]
        if self._hopeless:
            return [
                f"{len(self.failures)} trials failed (sweep.max_failures={self.sweep.max_failures}); "
                "the others are not started."
            ]
        return [f"sweep.max_minutes={self.sweep.max_minutes:g} are over; the same command goes on"]

    def _exit_code(self) -> int:
        if self.signals.received is not None:
            return 128 + self.signals.received
        good = any(record.state == states.COMPLETE for record in self.claims.records)
        failed = self._hopeless or (self.grid and self.claims.unmended)
        return int(not good or bool(failed))

    def _board(self) -> SweepBoard:
        return SweepBoard(self.folder, self.plan, self.claims.records, self.running, self.claims.counted)

    def _write_trials(self) -> None:
        self.claims.look()
        began = time.monotonic()
        self.folder.write_trials(rows(self.claims.records, self.plan.objectives))
        now = time.monotonic()
        self._write_after, self._unwritten = now + (now - began) / WRITE_SHARE, False

    def _patiently(self, step: Callable[[], Any]) -> Any:
        """A step that may be tried again while the store is away; trials go on meanwhile."""
        while True:
            try:
                result = step()
            except StoreDown as error:
                now = time.monotonic()
                if self._down_since is None:
                    self._down_since = now
                    self.view.say(f"the sweep's storage doesn't answer, trials go on: {error}")
                if now - self._down_since > STORE_PATIENCE or self.signals.count:
                    raise
                time.sleep(LOOK_SECONDS)
            else:
                self._down_since = None
                return result
