"""From events to MLflow's metrics: what each is called and which step it has.

Losses and learning rate while training: ``train/<name>``, step = iteration, at most about ``TRAIN_POINTS`` a run.
Averages of an epoch: ``epoch/<name>``, step = epoch. Validation: the metrics' own names (``mAP50-95``) and
``per_class/<class>/<metric>``, step = epoch, or iteration where the loop counts iterations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainer.events.reader import Event
from trainer.tracking.state import Progress

TRAIN_POINTS = 1000
KEY_LENGTH = 250
STATUS = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


@dataclass(frozen=True)
class Point:
    key: str
    value: float
    time_ms: int
    step: int


def points_of(event: Event, progress: Progress) -> tuple[list[Point], Progress]:
    """What an event says as MLflow metrics, and the progress after it (its offset is the caller's)."""
    kind = event["type"]
    time_ms = int(float(event.get("time") or 0) * 1000)
    if kind in STATUS:
        return [], replace(progress, status=STATUS[kind], ended=time_ms / 1000)
    if kind == "run_started":
        planned = event.get("iterations")
        by_iteration = "epochs" in event and event["epochs"] is None
        return [], replace(
            progress,
            status="RUNNING",
            ended=None,
            iterations=planned or progress.iterations,
            by_iteration=by_iteration,
        )
    if kind == "resumed":
        return [], replace(progress, status="RUNNING", ended=None)
    if kind == "train":
        step = int(event.get("iter") or 0)
        slot = step // max(1, math.ceil((progress.iterations or 0) / TRAIN_POINTS))
        if slot == progress.slot:
            return [], progress
        values = {**_losses(event), "lr": event.get("lr"), "seconds_per_iteration": event.get("seconds")}
        values["memory_mb"] = event.get("memory_mb")
        return list(_points("train/", values, time_ms, step)), replace(progress, slot=slot)
    if kind == "epoch":
        values = {**_losses(event), "lr": event.get("lr"), "seconds": event.get("seconds")}
        return list(_points("epoch/", values, time_ms, int(event.get("epoch") or 0))), progress
    if kind == "validation":
        step = int(event.get("iter" if progress.by_iteration else "epoch") or 0)
        found = list(_points("", event.get("metrics") or {}, time_ms, step))
        for name, values in (event.get("per_class") or {}).items():
            found += _points(f"per_class/{name}/", values, time_ms, step)
        return found, progress
    return [], progress


def clean_key(name: str) -> str:
    """A name as MLflow accepts it: letters, digits, ``_-. /``, no empty or ``..`` parts."""
    parts = [re.sub(r"[^\w\-. ]", "_", part) for part in name.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:KEY_LENGTH].rstrip("/") or "_"


def _losses(event: Event) -> dict[str, Any]:
    return dict(event.get("losses") or {})


def _points(prefix: str, values: Mapping[str, Any], time_ms: int, step: int) -> Iterator[Point]:
    for name, value in values.items():
        # None is how the log writes NaN; a curve has a gap there.
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield Point(clean_key(f"{prefix}{name}"), float(value), time_ms, step)
