"""A trial that runs: its process, and what its event log has said so far."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer.runs.events.reader import read
from trainer.runs.run import Run
from trainer.sweep.driver.lease import Process
from trainer.sweep.driver.outcome import COMPLETE, PRUNED, TrialOutcome, died, ended, find_run, memory_kills
from trainer.sweep.driver.slots import Slot
from trainer.sweep.driver.trial_process import Child
from trainer.sweep.stores.trial_store import TrialRecord

PRUNE: int = getattr(signal, "SIGUSR1", signal.SIGTERM)


@dataclass
class TrialProgress:
    """What the events of a trial have told."""

    epoch: int = 0
    epochs: int | None = None
    value: float | None = None
    best: float | None = None
    eta: float | None = None
    marks: int = (
        0  # checkpoints and validations: a trial that has none since it was begun again makes no progress
    )


@dataclass
class RunningTrial:
    """One trial of this driver.

    Attributes:
        output_dir: where its run directory is, or will be.
        metric: what is reported to the pruner, and shown; None: the primary metric of its own task.
        lost: how often in a row its process has gone without having got anywhere.
    """

    record: TrialRecord
    words: list[str]
    label: str
    run_id: str
    output_dir: Path
    log: Path
    metric: str | None
    mode: str
    slot: Slot
    lost: int = 0
    seen: TrialProgress = field(default_factory=TrialProgress)
    reports: list[tuple[int, float]] = field(default_factory=list)  # (epoch, metric) not told yet
    child: Child | None = None
    outcome: TrialOutcome | None = None
    pruning: bool = False
    stopping: bool = False
    started: float = 0.0
    not_before: float = 0.0  # on the monotonic clock
    _run: Run | None = None
    _offset: int = 0
    _listening: bool = False  # this attempt has begun to train, and knows what a signal means
    _marks_before: int = 0
    _said_before: int = 0
    _kills_before: int = 0
    _attempts_before: int = 0
    _told: bool = False

    @property
    def number(self) -> int:
        return self.record.number

    @property
    def identity(self) -> Process | str | None:
        """Its process, or the handle of its job, while it has one."""
        return self.child.identity if self.child else None

    @property
    def run(self) -> Run | None:
        if self._run is None:
            self._run = find_run(self.output_dir, self.run_id)
        return self._run

    @property
    def advanced(self) -> bool:
        """Whether this attempt has got further than the one before."""
        return self.seen.marks > self._marks_before

    def begun(self, child: Child) -> None:
        """Note its process."""
        self.child = child

    def found(self, child: Child) -> None:
        """Note a process that another driver began."""
        self.look()
        self.reports.clear()  # that driver has told them, or the next one says enough
        self.begun(child)
        self.started, self._marks_before = time.time(), self.seen.marks

    def prepare(self) -> None:
        """Before a process is started: what belongs to earlier ones?"""
        self.look()
        self.child, self.outcome, self.pruning, self._told = None, None, False, False
        self.started, self._listening = time.time(), False
        self._marks_before, self._kills_before = self.seen.marks, memory_kills()
        self._attempts_before = len(self.run.facts.get("attempts", [])) if self.run else 0
        self._said_before = self.log.stat().st_size if self.log.is_file() else 0

    def look(self) -> None:
        """Read what the log says anew."""
        if self.run is None:
            return
        for event, offset in read(self.run.events, self._offset):
            self._offset = offset
            if self.child is not None and event["type"] in ("train", "validation"):
                self._listening = True
            self._take(event)

    def poll(self) -> TrialOutcome | None:
        """How it ended, once it has."""
        if self.outcome is None and self.child is not None:
            code = self.child.poll()
            if code is not None:
                self.outcome = self._outcome(code)
        return self.outcome

    def prune(self) -> None:
        """Have it save and end, once it knows what the signal means; called again until then."""
        if self._listening and not self._told and self.child is not None:
            self._told = True
            self.child.signal(PRUNE)

    def stop(self, at_once: bool = False) -> None:
        """Have it save and end, or end without that."""
        if self.child is not None and self.outcome is None and (at_once or not self.stopping):
            self.child.signal(signal.SIGKILL if at_once else signal.SIGTERM)
        self.stopping = True

    def _outcome(self, code: int) -> TrialOutcome:
        found = ended(self.run, self._attempts_before)
        if found is None:
            here = self.child is None or self.child.here
            found = died(code, self._said(), here and memory_kills() > self._kills_before)
            if self.child is not None and self.child.reason:
                found = replace(found, error=self.child.reason)
        if self._told and found.kind not in (COMPLETE, PRUNED) and not self.stopping:
            found = TrialOutcome(PRUNED, None, found.figures, found.epochs)  # it was, however it took that
        return found

    def _said(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._said_before, self.log.stat().st_size - 64 * 1024))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _take(self, event: dict[str, Any]) -> None:
        kind, seen = event["type"], self.seen
        if kind == "run_started":
            seen.epochs = event.get("epochs") or seen.epochs
            self.metric = self.metric or (event.get("primary_metric") or {}).get("name")
        elif kind in ("train", "epoch"):
            seen.epoch = int(event.get("epoch") or seen.epoch)
            seen.eta = event.get("eta", seen.eta)
        elif kind == "checkpoint":
            seen.marks += 1
        elif kind == "validation":
            seen.marks += 1
            seen.epoch = int(event.get("epoch") or seen.epoch)
            value = (event.get("metrics") or {}).get(self.metric)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                seen.value = float(value)
                better = max if self.mode == "max" else min
                seen.best = seen.value if seen.best is None else better(seen.best, seen.value)
                self.reports.append((seen.epoch, seen.value))
