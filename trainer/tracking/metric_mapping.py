"""From events to metrics, MLflow's and TensorBoard's: which name each has, and which step.

Losses and learning rate while training: ``train/<name>``, step = iteration, at most about ``TRAIN_POINTS`` a run.
Averages of an epoch: ``epoch/<name>``, step = epoch. Validation: the metrics' own names (``mAP50-95``) and
``per_class/<class>/<metric>``, step = epoch, or iteration where the loop counts iterations; ``best/<primary metric>``
and ``best/epoch`` beside them. The machine: ``system/<name>``, step = number of the sample.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainer.runs.events.reader import Event
from trainer.tracking.mlflow_state import MlflowProgress

TRAIN_POINTS = 1000
KEY_LENGTH = 250
STATUS = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "cancelled": "KILLED"}


@dataclass(frozen=True)
class Point:
    key: str
    value: float
    time_ms: int
    step: int


def points_of(event: Event, progress: MlflowProgress) -> tuple[list[Point], MlflowProgress]:
    """What an event says as metrics, and the progress after it."""
    time_ms = int(float(event.get("time") or 0) * 1000)
    progress = replace(progress, time=time_ms / 1000)
    say = _SAY.get(event["type"])
    return say(event, progress, time_ms) if say else ([], progress)


def clean_key(name: str) -> str:
    """A name as MLflow accepts it: letters, digits, ``_-. /``, no empty or ``..`` parts."""
    parts = [re.sub(r"[^\w\-. ]", "_", part) for part in name.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:KEY_LENGTH].rstrip("/") or "_"


_Said = tuple[list[Point], MlflowProgress]


def _last_word(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    return [], replace(progress, status=STATUS[event["type"]], ended=time_ms / 1000)


def _started(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    primary = event.get("primary_metric") or {}
    return [], replace(
        progress,
        status="RUNNING",
        ended=None,
        iterations=event.get("iterations") or progress.iterations,
        by_iteration="epochs" in event and event["epochs"] is None,
        primary=primary.get("name"),
        mode=primary.get("mode") or "max",
        best=progress.best if event.get("resumed") else (),
    )


def _resumed(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    until = event.get("iter")
    best = tuple(one for one in progress.best if until is None or one[0] <= until)
    return [], replace(progress, status="RUNNING", ended=None, best=best)


def _train(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    step = int(event.get("iter") or 0)
    slot = step // max(1, math.ceil((progress.iterations or 0) / TRAIN_POINTS))
    if slot == progress.slot:
        return [], progress
    values = {**_losses(event), "lr": event.get("lr"), "seconds_per_iteration": event.get("seconds")}
    values["data_seconds"] = event.get("data_seconds")
    values["memory_mb"] = event.get("memory_mb")
    return list(_points("train/", values, time_ms, step)), replace(progress, slot=slot)


def _epoch(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    values = {**_losses(event), "lr": event.get("lr"), "seconds": event.get("seconds")}
    return list(_points("epoch/", values, time_ms, int(event.get("epoch") or 0))), progress


def _validation(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    step = int(event.get("iter" if progress.by_iteration else "epoch") or 0)
    metrics = event.get("metrics") or {}
    found = list(_points("", metrics, time_ms, step))
    for name, values in (event.get("per_class") or {}).items():
        found += _points(f"per_class/{name}/", values, time_ms, step)
    value = metrics.get(progress.primary)
    if isinstance(value, (int, float)) and math.isfinite(value):
        here = (int(event.get("iter") or 0), int(event.get("epoch") or 0), float(value))
        if not progress.best or _better(here[2], progress.best[-1][2], progress.mode):
            progress = replace(progress, best=(*progress.best, here))
    if progress.best:
        _, epoch, best = progress.best[-1]
        found += _points("best/", {str(progress.primary): best, "epoch": epoch}, time_ms, step)
    return found, progress


def _system(event: Event, progress: MlflowProgress, time_ms: int) -> _Said:
    progress = replace(progress, samples=progress.samples + 1)
    return list(_points("system/", event.get("values") or {}, time_ms, progress.samples)), progress


_SAY = {
    "run_started": _started,
    "resumed": _resumed,
    "train": _train,
    "epoch": _epoch,
    "validation": _validation,
    "system": _system,
    **dict.fromkeys(STATUS, _last_word),
}


def _better(value: float, than: float, mode: str) -> bool:
    return value < than if mode == "min" else value > than


def _losses(event: Event) -> dict[str, Any]:
    return dict(event.get("losses") or {})


def _points(prefix: str, values: Mapping[str, Any], time_ms: int, step: int) -> Iterator[Point]:
    for name, value in values.items():
        # None is how the log writes NaN; a curve has a gap there.
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield Point(clean_key(f"{prefix}{name}"), float(value), time_ms, step)
