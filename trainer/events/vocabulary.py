"""The words an event log is written in. Readers ignore types and fields that they don't know."""

from __future__ import annotations

VERSION = 1

# Field names that every event carries, written by the log itself.
COMMON = {
    "v": "version of this vocabulary",
    "seq": "1, 2, 3, ... over the whole life of a run, resumed or not",
    "time": "unix seconds",
    "type": "one of the types below",
}

EVENTS: dict[str, dict[str, str]] = {
    "run_started": {
        "run_id": "the run's id",
        "run_dir": "the run directory, absolute",
        "experiment": "the experiment's name",
        "task": "task",
        "model": "model",
        "dataset": "data set",
        "classes": "class names, in label order",
        "primary_metric": "{name, mode}: what chooses the best checkpoint; mode is max or min",
        "epochs": "epochs planned; None when the loop counts iterations",
        "iterations": "iterations planned",
        "parameters": "number of trainable parameters",
        "device": "cpu or cuda",
        "resumed": "true when an earlier attempt is gone on with; a `resumed` event follows",
    },
    "train": {
        "epoch": "1-based epoch",
        "iter": "iterations done since the start of the run",
        "lr": "learning rate of the first parameter group",
        "losses": "{name: mean since the last train event}; None where not finite",
        "seconds": "mean seconds per iteration since the last train event",
        "data_seconds": "share of it spent waiting for data",
        "eta": "seconds to the end of training at this attempt's speed, validations included",
        "memory_mb": "peak GPU memory in MiB; absent on a CPU",
    },
    "epoch": {
        "epoch": "the epoch that ended",
        "iter": "iterations done",
        "losses": "{name: mean over the epoch}",
        "lr": "learning rate at its end",
        "seconds": "wall seconds of the epoch",
    },
    "validation": {
        "epoch": "epochs done",
        "iter": "iterations done",
        "metrics": "{name: value}",
        "per_class": "{class: {metric: value}}",
        "seconds": "wall seconds of the validation",
    },
    "checkpoint": {
        "path": "relative to the run directory",
        "kind": "best or last",
        "epoch": "epochs done",
        "iter": "iterations done",
        "metric": "the primary metric's name",
        "value": "its value, None where not validated yet",
    },
    "artifact": {"path": "relative to the run directory", "kind": "what it is"},
    "warning": {"message": "what is not as it should be"},
    "resumed": {
        "path": "the checkpoint, relative to the run directory",
        "epoch": "epochs done at that point; later events of earlier attempts no longer count",
        "iter": "iterations done at that point",
    },
    "finished": {"result": "what result.json says"},
    "failed": {"error": "{type, message}", "result": "what result.json says"},
    "cancelled": {
        "signal": "SIGINT or SIGTERM",
        "saved": "checkpoint kept, or None",
        "result": "what result.json says",
    },
}

LAST_WORDS = ("finished", "failed", "cancelled")


def check(kind: str) -> None:
    """Raise ValueError for a type that isn't documented here."""
    if kind not in EVENTS:
        raise ValueError(f"unknown event type {kind!r}; the vocabulary has {', '.join(EVENTS)}")
