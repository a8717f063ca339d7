"""Events in words: one line each, for the log file and for a console that isn't a terminal."""

from __future__ import annotations

from typing import Any

from trainer.runs.events.reader import Event

PICTURES = ("curves", "plot", "predictions", "data")


def event_text(event: Event) -> str | None:
    """One line about ``event``, or None for what isn't worth a line."""
    words = _WORDS.get(event["type"])
    return words(event) if words else None


def number(value: Any) -> str:
    """A metric or loss as people read it."""
    if value is None:
        return "nan"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """``45s``, ``3:05``, ``2:03:05``."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def headline(metrics: dict[str, Any], primary: str | None = None) -> str:
    """``mAP50-95 0.6312`` and a few of its companions, the primary metric first."""
    names = [name for name in metrics if name == primary] + [name for name in metrics if name != primary]
    return "  ".join(f"{name} {number(metrics[name])}" for name in names[:4])


def _started(event: Event) -> str:
    size = f", {event['parameters'] / 1e6:.2f} M parameters" if event.get("parameters") else ""
    return (
        f"{event['task']}: {event['model']} on {event['dataset']} "
        f"({len(event.get('classes') or [])} classes{size}, {event.get('device')}{_batch(event)})"
    )


def _batch(event: Event) -> str:
    batch = event.get("batch")
    if not batch:
        return ""
    parts = [str(batch["images"])]
    parts += [f"{batch['processes']} processes"] if batch["processes"] > 1 else []
    parts += [f"{batch['accumulate']} iterations"] if batch["accumulate"] > 1 else []
    made = f" ({' x '.join(parts)})" if len(parts) > 1 else ""
    rate = f", lr {batch['lr']:g}" if batch.get("lr") else ""
    return f", batch {batch['effective']}{made}{rate}"


def _train(event: Event) -> str:
    losses = event["losses"]
    parts = [f"loss {number(losses['loss'])}"] if "loss" in losses else []
    parts += [f"{name} {number(value)}" for name, value in losses.items() if name != "loss"]
    if event.get("lr") is not None:
        parts.append(f"lr {event['lr']:.3g}")
    parts.append(f"{event['seconds']:.3f} s/iter  eta {duration(event.get('eta'))}")
    return f"epoch {event['epoch']}  iter {event['iter']}  " + "  ".join(parts)


def _validation(event: Event) -> str:
    took = duration(event.get("seconds"))
    return f"epoch {event['epoch']}  validation  {headline(event['metrics'])}  ({took})"


def _checkpoint(event: Event) -> str | None:
    if event["kind"] != "best":
        return None
    return (
        f"epoch {event['epoch']}  best so far: {event['metric']} {number(event['value'])} -> {event['path']}"
    )


_WORDS: dict[str, Any] = {
    "run_started": _started,
    "train": _train,
    "validation": _validation,
    "checkpoint": _checkpoint,
    # Those are drawn again and again.
    "artifact": lambda event: None if event.get("kind") in PICTURES else f"wrote {event['path']}",
    "warning": lambda event: f"warning: {event['message']}",
    "resumed": lambda event: (
        f"resumed from {event['path']}: epoch {event['epoch']}, iteration {event['iter']}"
    ),
    "finished": lambda event: f"finished after {duration(event['result'].get('duration_seconds'))}",
    "failed": lambda event: f"failed: {event['error']['type']}: {event['error']['message']}",
    "pruned": lambda event: (
        f"pruned by its sweep after {event['result']['epochs_completed']} epochs"
        + (f"; saved {event['saved']}" if event.get("saved") else "")
    ),
    "cancelled": lambda event: f"cancelled by {event['signal']}",
}
