"""``result.json``: a view of the event log, so it can be made again from it. Imports no torch."""

from __future__ import annotations

import time
from typing import Any

from trainer.core.errors import CheckpointError
from trainer.runs.events.reader import Event, events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run


class Result(dict[str, Any]):
    """What result.json holds; ``exit_code`` is what the command should end with."""

    exit_code: int = 0


def build_result(
    run: Run,
    *,
    status: str,
    task: str,
    model: str,
    dataset: str,
    metric: str,
    mode: str,
    error: dict[str, str] | None,
) -> Result:
    """The result of ``run`` as its events and checkpoints tell it.

    ``metrics`` are those of the validation with the best primary metric, the one that ``best.pth`` belongs
    to.

    Args:
        status: finished, failed, pruned or cancelled.
        mode: max or min.
    """
    log = list(events(run.events))
    validations, epochs = _that_count(log)
    scored = [event for event in validations if event["metrics"].get(metric) is not None]
    best = None
    for event in scored:
        value = event["metrics"][metric]
        if best is None or (
            value > best["metrics"][metric] if mode == "max" else value < best["metrics"][metric]
        ):
            best = event
    shown = best or (validations[-1] if validations else None)
    metrics: dict[str, Any] = {}
    if shown is not None:
        metrics = {**shown["metrics"], "per_class": shown["per_class"]}
    facts = run.facts
    return Result(
        status=status,
        command="train",
        task=task,
        model=model,
        dataset=dataset,
        primary_metric={
            "name": metric,
            "value": best["metrics"][metric] if best else None,
            "mode": mode,
            "epoch": best["epoch"] if best else None,
        },
        metrics=metrics,
        checkpoints=_checkpoints(run),
        epochs_completed=epochs,
        duration_seconds=_seconds(facts.get("attempts", []), log),
        run_id=run.id,
        mlflow_run_id=facts.get("mlflow_run_id"),
        error=error,
    )


def _that_count(log: list[Event]) -> tuple[list[Event], int]:
    """The validations and the number of epochs, without those that a resume went back behind."""
    validations: list[Event] = []
    epochs = 0
    for event in log:
        kind = event["type"]
        if kind == "validation":
            # The same point can be validated twice: before a kill and on the way on from it.
            validations = [one for one in validations if one["iter"] != event["iter"]] + [event]
            epochs = max(epochs, event["epoch"])
        elif kind == "epoch":
            epochs = max(epochs, event["epoch"])
        elif kind == "resumed":
            validations = [one for one in validations if one["iter"] <= event["iter"]]
            epochs = min(epochs, event["epoch"])
        elif kind == "run_started" and not event.get("resumed"):
            validations, epochs = [], 0
    return validations, epochs


def _checkpoints(run: Run) -> dict[str, str | None]:
    manifest, found = Manifest(run.checkpoints), {}
    for name in ("best", "last"):
        try:
            whole = manifest.entry(name) is not None
        except CheckpointError:
            whole = False
        found[name] = f"{run.checkpoints.name}/{name}.pth" if whole else None
    return found


def _seconds(attempts: list[dict[str, Any]], log: list[Event]) -> float:
    """Wall seconds over all attempts; one that was killed counts up to its last event."""
    total = 0.0
    for index, attempt in enumerate(attempts):
        start, end = attempt["started"], attempt["ended"]
        if end is None and index == len(attempts) - 1:
            end = time.time()
        if end is None:
            until = attempts[index + 1]["started"]
            end = max([event["time"] for event in log if start <= event["time"] < until], default=start)
        total += end - start
    return round(total, 3)
