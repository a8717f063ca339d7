"""What a run is, as its ``run_started`` event has it, and the files beside its log."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.platform.callbacks.metric_names import Scores
from trainer.runs.events.reader import Event


@dataclass
class Training:
    """A run directory and its newest ``run_started`` event, empty while there is none."""

    run_dir: Path
    event: Event = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Epochs planned, at least 1; passes through the data where the loop counts iterations."""
        epochs = self.event.get("epochs")
        if epochs is None:
            iterations = self.event.get("iterations") or 1
            epochs = math.ceil(iterations / max(1, int(self.event.get("epoch_iterations") or iterations)))
        return max(1, int(epochs))

    @property
    def task(self) -> str:
        return str(self.event.get("task") or "detection")

    @property
    def primary(self) -> tuple[str, str]:
        """The primary metric's name, and max or min."""
        primary = self.event.get("primary_metric") or {}
        return str(primary.get("name")), str(primary.get("mode") or "max")

    @property
    def by_iteration(self) -> bool:
        return bool(self.event) and self.event.get("epochs") is None

    def share(self, iteration: int) -> float:
        """How much of it is through, from 0 to 1."""
        return min(1.0, iteration / max(1, int(self.event.get("iterations") or 1)))

    def scores(self, event: Event) -> Scores:
        """What a validation event says, with its curves where they are written."""
        metrics = {name: value for name, value in (event.get("metrics") or {}).items() if value is not None}
        classes, per_class = list(self.event.get("classes") or ()), event.get("per_class") or {}
        return Scores(self.task, classes, metrics, per_class, self.file("curves", event))

    def point(self, event: Event) -> str:
        """What the files of a validation are called."""
        return f"iter_{event['iter']}" if self.by_iteration else f"epoch_{event['epoch']}"

    def file(self, folder: str, event: Event) -> dict[str, Any]:
        """The content of a validation's file; empty where there is none of this very validation."""
        try:
            content = json.loads((self.run_dir / folder / f"{self.point(event)}.json").read_bytes())
            return content if content.get("iter") == event["iter"] else {}
        except (OSError, ValueError, AttributeError):
            return {}
