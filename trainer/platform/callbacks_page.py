"""``docs/callbacks.md``, from the bodies: ``python -m trainer.platform.callbacks_page`` prints it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from trainer.platform.callbacks import delivery, events_to_payloads, image_results, metric_names, payloads
from trainer.platform.callbacks.payloads import ROUTES, Payload

PARTS = (
    payloads.MetricsPayload,
    payloads.ImageResultPayload,
    payloads.BoxPayload,
    payloads.InferenceResultPayload,
)
BODIES = (
    payloads.ProgressPayload,
    payloads.ValidationPayload,
    payloads.CompletionPayload,
    payloads.LogPayload,
    payloads.InferenceStartedPayload,
    payloads.InferenceCompletionPayload,
    payloads.ExportStartedPayload,
    payloads.ExportCompletionPayload,
    payloads.EvaluationCompletionPayload,
)
TITLES = {"Progress": "Started, progress and rows"}


def document() -> str:
    """The page."""
    lines = [*_opening(), *_order(), *_names(), *_caps(), *_delivery(), "", "## Bodies", ""]
    lines.append("Paths are relative to the callback address. A field that isn't known is left out.")
    for body in BODIES:
        lines += _section(body, f"`POST {ROUTES[body.route]}`")
    for part in PARTS:
        lines += _section(part, "A part of the bodies above.")
    return "\n".join(lines) + "\n"


def _opening() -> list[str]:
    return [
        "# Callbacks",
        "",
        "What a platform's backend is told about a job, where, and what is done when it doesn't answer. Started by the "
        "platform's variables ([platform.md](platform.md)), or from the command line:",
        "",
        "```bash",
        "python -m trainer callback=platform callback.url=http://backend:8000/api/v1 callback.job_id=42",
        "```",
        "",
        "This page is printed by `python -m trainer.platform.callbacks_page`.",
    ]


def _order() -> list[str]:
    return [
        "",
        "## What a training tells",
        "",
        "| When | What |",
        "|---|---|",
        "| it begins | progress of epoch 0 without metrics; after a resume, of the epoch it goes on from |",
        "| an epoch has ended, with the validation that follows it where one does | progress with metrics: one row |",
        f"| an epoch takes longer than {events_to_payloads.PROGRESS_SECONDS:g} s | progress without metrics |",
        "| after each validation, when its curves are written | validation |",
        f"| all along | lines for the log, {events_to_payloads.MOST_LOGS:,} at most |",
        "| the end, after the uploads | completion, once, last |",
        "",
        "An epoch is told once in a job's life, however often it is trained again after a resume. Loops that count "
        "iterations are told by their passes through the data. After SIGTERM, and after a completion, nothing is sent; "
        "Ctrl-C, which nobody else knows of, is told as `cancelled`.",
    ]


def _names() -> list[str]:
    heads = ", ".join(f"`{name}` ({task.replace('_', ' ')})" for task, name in metric_names.HEADLINES.items())
    return [
        "",
        "## Names of metrics",
        "",
        "A row's `extra_metrics` are the losses, `learning_rate` and the validation's metrics under our names, the "
        "same keys each epoch: an epoch without a validation repeats the newest one's values. `accuracy` is the "
        "headline: "
        f"the run's primary metric where a larger one is better, else {heads}.",
        "",
        "A validation's `metrics` have each value under all names that the views read: `mAP50` as `mAP@0.5`, "
        "`mAP50_B_`, `mAP50(B)`; masks with `M`; pose as `OKS` and `PCK` besides. `precision` and `recall` are those "
        "at the confidence with the highest F1. In the confusion matrix of detections the background comes last.",
    ]


def _caps() -> list[str]:
    return [
        "",
        "## What is left out",
        "",
        f"- Pictures: {image_results.MOST_IMAGES} a validation, with {image_results.MOST_BOXES} boxes each.",
        f"- Confusion matrix and curves, of more than {metric_names.MOST_CLASSES} classes.",
        f"- Of an error message what comes after {payloads.MESSAGE:,} characters, of a traceback what comes before the "
        f"last {payloads.TRACEBACK:,}.",
        "- NaN and infinity.",
    ]


def _delivery() -> list[str]:
    usual = delivery.Retry()
    return [
        "",
        "## Delivery",
        "",
        "Bodies wait in `sinks/platform/outbox.jsonl` of the run directory and go out in order, one at a time, from a "
        "process beside the training, which waits for them at its end alone (`callback.flush_seconds`).",
        "",
        "- Tried again: no connection, 408, 429 (not before its `Retry-After`), 5xx; `callback.max_retries` "
        f"({usual.max_retries}) times in a row, `callback.retry_delay` ({usual.delay:g}) seconds apart, doubled each "
        "time, with jitter. `CALLBACK_MAX_RETRIES` and `CALLBACK_RETRY_DELAY` are the same.",
        f"- After such a round the body stays first in the outbox and the next round comes, at most "
        f"{delivery.LONGEST_PAUSE:g} s later, for as long as the training goes on. Nothing is dropped because nobody "
        "listens. Progress without metrics is superseded by newer progress.",
        "- Not tried again: any other 4xx; it is in `sinks/platform.log` with the backend's answer.",
        "- A line for the log that the backend answers with 5xx is given up after a round; another body, while the "
        "one behind it is taken, after two.",
        "- At the end, what is left waits in the outbox, the command ends with 1, and `python -m trainer replay <run> "
        "sink=platform` delivers it.",
        "",
        "A request whose answer is lost may have arrived:",
        "",
        "| | the connection broke | no answer within a minute | the sender was killed |",
        "|---|---|---|---|",
        "| a row, a line for the log, inference results: add something each time | sent again: a server that "
        "goes away has stored nothing | not sent again: most likely it is there | not sent again |",
        "| all others: change nothing the second time | sent again | sent again | sent again |",
        "",
        "`outbox.jsonl` says what became of each (`unknown` where it isn't known). Every request has an "
        "`Idempotency-Key`, for a backend that can use it. In the results store `delivered.json` says what was sent, "
        "before the bytes of a row go out, so that another machine that goes on with the job repeats none.",
    ]


def _section(body: type[Payload], about: str) -> Iterator[str]:
    text = " ".join((inspect.getdoc(body) or "").split()).replace("``", "`")
    yield from ("", f"### {TITLES.get(body.kind(), body.kind())}", "", about)
    if text and not text.startswith(f"{body.__name__}("):
        yield from ("", text)
    yield from ("", "| Field | Type | |", "|---|---|---|")
    for one in fields(body):  # type: ignore[arg-type]  # every subclass is a dataclass
        kind = str(one.type).replace(" | None", "").replace("Payload", "").replace("|", "or")
        yield f"| `{one.name}` | {kind} | {_limits(one)} |"


def _limits(one: Field[Any]) -> str:
    rule, words = one.metadata, []
    if rule["required"]:
        words.append("required")
    for sign, text in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
        if rule[sign] is not None:
            words.append(f"{text} {rule[sign]:g}")
    if rule["longest"] is not None:
        words.append(f"{rule['longest']:,} characters" + (", cut" if rule["keep"] else ""))
    if rule["choices"]:
        words.append(" ".join(f"`{choice}`" for choice in rule["choices"]))
    return ", ".join(words)


if __name__ == "__main__":
    print(document(), end="")
