"""What a run's event log says so far, as series that can be drawn. Read again and again while the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.runs.events.reader import Event, read
from trainer.runs.run import Run


@dataclass
class RunSeries:
    """The events that count: those that a resume went back behind are gone.

    Attributes:
        started: the last ``run_started`` event, empty before it.
        train, epochs, validations: events of these types, by iteration.
        offset: bytes of the log that have been read.
    """

    run: Run
    started: Event = field(default_factory=dict)
    train: list[Event] = field(default_factory=list)
    epochs: list[Event] = field(default_factory=list)
    validations: list[Event] = field(default_factory=list)
    offset: int = 0

    @classmethod
    def of(cls, run_dir: str | Path) -> RunSeries:
        """The history of a run directory.

        Raises:
            ConfigError: it is none.
        """
        history = cls(Run.open(run_dir))
        history.update()
        return history

    def update(self) -> bool:
        """Read on; whether there was anything new."""
        before = self.offset
        for event, offset in read(self.run.events, self.offset):
            self.offset = offset
            self._take(event)
        return self.offset > before

    @property
    def subject(self) -> str:
        """``rtmdet-tiny on digits``."""
        facts = self.started or self.run.facts
        return f"{facts.get('model') or '?'} on {facts.get('dataset') or '?'}"

    @property
    def primary(self) -> tuple[str | None, str]:
        """(name, ``max`` or ``min``) of the metric that chooses the best checkpoint."""
        facts = self.started.get("primary_metric") or {}
        return facts.get("name"), facts.get("mode") or "max"

    @property
    def by_epoch(self) -> bool:
        """Whether the loop counts epochs."""
        return self.started.get("epochs") is not None

    def best(self) -> Event | None:
        """The validation with the best primary metric, the first of equal ones as the checkpoint is; or the last."""
        name, mode = self.primary
        scored = [event for event in self.validations if _number(event["metrics"].get(name)) is not None]
        if not scored:
            return self.validations[-1] if self.validations else None
        choose: Callable[..., Event] = max if mode == "max" else min
        return choose(scored, key=lambda event: event["metrics"][name])

    def step(self, event: Event) -> float:
        """Where on the x axis of validations: epochs, or iterations where the loop counts those."""
        return float(event["epoch"] if self.by_epoch else event["iter"])

    def _take(self, event: Event) -> None:
        kind = event["type"]
        if kind == "run_started":
            self.started = event
            if not event.get("resumed"):
                self.train, self.epochs, self.validations = [], [], []
        elif kind == "resumed":
            self._forget_after(event["iter"])
        elif kind == "train":
            self.train.append(event)
        elif kind == "epoch":
            self.epochs.append(event)
        elif kind == "validation":
            # The same point can be validated twice: before a kill and on the way on from it.
            self.validations = [one for one in self.validations if one["iter"] != event["iter"]] + [event]

    def _forget_after(self, iteration: int) -> None:
        for series in (self.train, self.epochs, self.validations):
            series[:] = [event for event in series if event["iter"] <= iteration]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
