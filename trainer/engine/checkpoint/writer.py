"""Checkpoints on their way to the disk, on a thread of their own: training waits for none of it.

One is under way at a time; the next save waits for it, and so do a run's end and a stop. A save that fails (the
disk is full, the folder is read-only) is told of, and the checkpoints from before stay.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from trainer.runs.events.log import EventLog
from trainer.runs.manifest import Entry, Manifest

logger = logging.getLogger("trainer")


@dataclass
class Save:
    """One checkpoint: what it holds, what the manifest says of it, and what is counted (``epoch`` or ``iter``)."""

    content: dict[str, Any]
    facts: Entry
    unit: str


@dataclass
class Keep:
    """Which checkpoints stay.

    Attributes:
        greater: whether the larger value is the better.
        best: how many of the best, ``best.pth`` among them.
        every: epochs (or iterations) between two that stay for good; None for none.
    """

    greater: bool = True
    best: int = 1
    every: int | None = None

    def better(self, value: float, other: float) -> bool:
        return value > other if self.greater else value < other


@dataclass
class CheckpointWriter:
    """Writes to one manifest's folder; the only one that changes it while training runs."""

    manifest: Manifest
    log: EventLog
    keep: Keep = field(default_factory=Keep)
    error: Exception | None = None  # of the newest save, when it failed
    _thread: threading.Thread | None = None

    def put(self, save: Save) -> None:
        """Have ``save`` written; waits only for the one before it."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(save,), name="checkpoints", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def failed(self) -> bool:
        """Whether the newest save failed; waits for it."""
        self.wait()
        return self.error is not None

    def wanted(self, value: float | None) -> bool:
        """Whether a checkpoint of this value would be among the best."""
        if value is None or not math.isfinite(value):
            return False
        known = self.manifest.read()
        others = [known["best"]["value"]] if known.get("best") else []
        if self.keep.best > 1:
            others = [entry["value"] for entry in self.manifest.kept().values() if entry["kept"] == "best"]
        others = [other for other in others if other is not None]
        return len(others) < self.keep.best or any(self.keep.better(value, other) for other in others)

    def give_names(self, unit: str) -> None:
        """Give ``last.pth`` its further names, then remove what is no longer among the kept.

        Follows each writing of it; a second time, after a kill in between, it does what is left to do.
        """
        known = self.manifest.read()
        entry = known.get("last")
        # Within an epoch, or before its validation, it gets none.
        if entry is not None and "batch" not in entry and not entry.get("pending_validation"):
            self._name(entry, unit, known)

    def _write(self, save: Save) -> None:
        last = f"{self.manifest.folder.name}/last.pth"
        try:
            self.log.flush()  # what a checkpoint says has happened must be in the log
            with self.manifest.replacing("last", save.facts) as file:
                torch.save(save.content, file)  # type: ignore[arg-type]  # needs no more than write and flush
            save.content = {}
            self._tell("last", save.facts)
            self.give_names(save.unit)
            self.error = None
        except Exception as error:
            self.error = error
            logger.error("a checkpoint couldn't be written", exc_info=error)
            reason = str(error).partition("\n")[0] or type(error).__name__
            self.log.emit(
                "warning",
                message=f"the checkpoint of iteration {save.facts['iter']} couldn't be written ({reason}); "
                f"training goes on, {last} is the one from before if there was one",
            )

    def _name(self, entry: Entry, unit: str, known: dict[str, Any]) -> None:
        value, count = entry.get("value"), entry[unit]
        name = f"{unit}-{count}"
        scored = value is not None and math.isfinite(value)
        if value is not None and scored:
            best = known.get("best")
            if best is None or best.get("value") is None or self.keep.better(value, best["value"]):
                self._copy("best", entry)
        every = bool(self.keep.every) and count % (self.keep.every or 1) == 0
        ranked = {other: one for other, one in self.manifest.kept().items() if one["kept"] == "best"}
        before = list(ranked)
        if scored and self.keep.best > 1 and not every:
            ranked[name] = {**entry, "kept": "best"}
        order = sorted(ranked, key=lambda other: ranked[other]["value"], reverse=self.keep.greater)
        stay = set(order[: self._places()])
        if every or name in stay:
            self._copy(name, entry, kept="every" if every else "best")
        self.manifest.drop(other for other in before if other not in stay and not (every and other == name))

    def _places(self) -> int:
        return self.keep.best if self.keep.best > 1 else 0

    def _copy(self, name: str, entry: Entry, **facts: Any) -> None:
        there = self.manifest.read().get(name, {})
        if there.get("sha256") == entry["sha256"] and facts.items() <= there.items():
            return
        self.manifest.copy("last", name, **facts)
        self._tell(name, entry)

    def _tell(self, name: str, entry: Entry) -> None:
        facts = {key: entry.get(key) for key in ("epoch", "iter", "metric", "value")}
        kind = name if name in ("last", "best") else "kept"
        path = f"{self.manifest.folder.name}/{self.manifest.file(name).name}"
        self.log.emit("checkpoint", path=path, kind=kind, **facts)
