"""The words an event log is written in; ``python -m trainer.runs.events.schema`` prints them as docs/events.md.

Readers ignore types and fields that they don't know. ``VERSION`` grows when a word changes its meaning or goes
away, not when one is added.
"""

from __future__ import annotations

from collections.abc import Iterable

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
        "data": "{fingerprint, format, source, splits: {name: {images, annotations}}}",
        "primary_metric": "{name, mode}: what chooses the best checkpoint; mode is max or min",
        "epochs": "epochs planned; null when the loop counts iterations",
        "iterations": "iterations planned",
        "epoch_iterations": "iterations of an epoch",
        "parameters": "number of trainable parameters",
        "batch_size": "images of an iteration, over all processes",
        "batch": "{images, processes, accumulate, effective, lr, rule, base}: what a step of the weights is made of, "
        "and how its learning rate came from the one for a batch of base images",
        "device": "cpu or cuda",
        "resumed": "true when an earlier attempt is gone on with; a `resumed` event follows",
    },
    "train": {
        "epoch": "1-based epoch",
        "iter": "iterations done since the start of the run",
        "lr": "learning rate of the first parameter group",
        "losses": "{name: mean since the last train event, over all processes}; null where not finite",
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
        "validates": "whether a validation follows",
    },
    "validation": {
        "epoch": "epochs done",
        "iter": "iterations done",
        "metrics": "{name: value}",
        "per_class": "{class: {metric: value}}",
        "seconds": "wall seconds of the validation",
        "latency": "median milliseconds an image took: network, post-processing and collection, without loading",
    },
    "checkpoint": {
        "path": "relative to the run directory",
        "kind": "best, last or kept (one of the best, or every so many epochs)",
        "epoch": "epochs done",
        "iter": "iterations done",
        "metric": "the primary metric's name",
        "value": "its value, null where not validated yet",
    },
    "system": {
        "values": "{name: value} of the training's processes and of the machine: cpu_percent (100 is one core busy), "
        "memory_mb, processes, machine_cpu_percent, machine_memory_percent, disk_free_gb, gpu_<n>_percent, "
        "gpu_<n>_memory_mb, gpu_<n>_watts, gpu_<n>_celsius"
    },
    "artifact": {"path": "a file or a folder, relative to the run directory", "kind": "what it is"},
    "log": {
        "level": "INFO, WARNING, ERROR or CRITICAL",
        "logger": "who said it",
        "message": "what was said, at most 2,000 characters",
    },
    "warning": {"message": "what is not as it should be, for the user"},
    "resumed": {
        "path": "the checkpoint, relative to the run directory",
        "epoch": "epochs done at that point; later events of earlier attempts no longer count",
        "iter": "iterations done at that point",
        "events": "number of the last event before that point; null for checkpoints of older versions",
    },
    "finished": {"result": "what result.json says"},
    "failed": {
        "error": "{type, message}",
        "traceback": "where it happened, the last 20,000 characters; null for mistakes that need none",
        "result": "what result.json says",
    },
    "pruned": {
        "saved": "checkpoint kept, or null",
        "result": "what result.json says",
    },
    "cancelled": {
        "signal": "SIGINT or SIGTERM",
        "saved": "checkpoint kept, or null",
        "result": "what result.json says",
    },
}

LAST_WORDS = ("finished", "failed", "pruned", "cancelled")
# What must have reached the disk before anybody builds on it.
SYNCED = ("run_started", "resumed", "checkpoint", *LAST_WORDS)


def check_event(kind: str, fields: Iterable[str] = ()) -> None:
    """Raise ValueError for a type or a field that isn't documented here."""
    if kind not in EVENTS:
        raise ValueError(f"unknown event type {kind!r}; the vocabulary has {', '.join(EVENTS)}")
    known = EVENTS[kind]
    for field in fields:
        if field not in known:
            raise ValueError(
                f"{kind!r} events have no field {field!r}; the vocabulary has {', '.join(known)}"
            )


def document() -> str:
    """docs/events.md."""
    lines = [
        "# The event log",
        "",
        "`events.jsonl` in a run directory says what happened, one JSON object a line, oldest first. It is the truth "
        "of a run: what the console shows, MLflow, TensorBoard and `result.json` are made from it and can be made "
        "again (`python -m trainer replay`).",
        "",
        "Lines reach the operating system within a second, and the disk at every checkpoint, start and end. A last "
        "line that a kill has torn is cut off when the log is opened again; until then readers leave it alone. Where "
        "the disk is full, lines wait in memory until it isn't. A number that JSON doesn't know (NaN, infinity) is "
        "`null`. Readers ignore types and fields that they don't know; `v` grows when one changes its meaning.",
        "",
        "```python",
        "from trainer.runs.events.reader import events",
        "",
        'best = max(event["metrics"]["mAP50-95"] for event in events("runs/latest/events.jsonl")',
        '           if event["type"] == "validation")',
        "```",
        "",
        "This page is printed by `python -m trainer.runs.events.schema`.",
        "",
        "## Every event",
        "",
        *_table(COMMON),
    ]
    for kind, fields in EVENTS.items():
        lines += ["", f"## {kind}", "", *_table(fields)]
    return "\n".join(lines) + "\n"


def _table(fields: dict[str, str]) -> list[str]:
    return ["| Field | Meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in fields.items())]


if __name__ == "__main__":
    print(document(), end="")
