"""From a run's events to callbacks. The same log always tells the same, under the same keys, so it may be read again
from its beginning at any time: the outbox knows what it has.

Epochs are told once each (``row:3``), with the metrics of the validation that follows them where one does, after its
curves are written, which say precision and recall. Loops that count iterations are told by the passes through the
data. Validations replace each other, so one that is repeated after a resume is told again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.platform.callbacks.image_results import image_results
from trainer.platform.callbacks.metric_names import Scores, headline
from trainer.platform.callbacks.payloads import (
    LogPayload,
    MetricsPayload,
    Payload,
    ProgressPayload,
    ValidationPayload,
    timestamp,
)
from trainer.platform.callbacks.run_info import Training
from trainer.platform.settings.task_names import LONG
from trainer.runs.events.event_text import event_text
from trainer.runs.events.reader import Event

logger = logging.getLogger("trainer")

CURVES_SECONDS = 30.0
"""How long a validation waits for its curves, which are written beside the training."""
PROGRESS_SECONDS = 60.0
"""Seconds between two words about how far a long epoch is."""
MOST_LOGS = 1500
"""Lines of a job: the backend throws the newest away when it has 2,000."""


@dataclass(frozen=True)
class Message:
    """What to tell under which key; see :meth:`trainer.platform.callbacks.delivery.Delivery.tell`."""

    key: str
    kind: str
    body: Payload


@dataclass
class MetricRow:
    """An epoch that has ended, or the part of it that is through."""

    epoch: int
    losses: dict[str, Any]
    lr: float | None
    seconds: float | None = None
    eta: float | None = None


@dataclass
class _Sums:
    """Losses of an epoch under way, where the loop doesn't tell of epochs."""

    epoch: int = 0
    iterations: int = 0
    losses: dict[str, float] = field(default_factory=dict)

    def add(self, losses: dict[str, Any], iterations: int) -> None:
        for name, value in losses.items():
            if isinstance(value, (int, float)):
                self.losses[name] = self.losses.get(name, 0.0) + value * iterations
        self.iterations += iterations

    @property
    def means(self) -> dict[str, float]:
        return {name: value / max(1, self.iterations) for name, value in self.losses.items()}


class EventTranslator:
    """Hears a run's events, oldest first.

    Args:
        run_dir: where curves and samples are.
        job_id: the platform's number of the job.
        interval: epochs between two rows; the last epoch always has one.
        links: the URIs of uploaded files by name (``best``, ``last``, plots), asked when a body is made.
    """

    def __init__(
        self,
        run_dir: Path,
        job_id: int,
        interval: int = 1,
        links: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self.job_id, self.interval, self.links = job_id, max(1, interval), links
        self.last_word: Event | None = None
        self.epochs = 0  # that are through
        self.final: MetricsPayload | None = None
        self._validated: list[tuple[int, float, MetricsPayload]] = []
        self.training = Training(run_dir)
        self._row: MetricRow | None = None
        self._behind: list[MetricRow] = []  # that ended while a validation waits
        self._scores: tuple[Event, float] | None = None
        self._known: dict[str, float] = {}
        self._sums = _Sums()
        self._iteration = 0
        self._eta: float | None = None
        self._told_at = 0.0
        self._logs = 0
        self._before: list[tuple[Event, str, str]] = []

    @property
    def best(self) -> tuple[int, MetricsPayload] | None:
        """The epoch with the best primary metric and its metrics."""
        sign = -1 if self.training.primary[1] == "min" else 1
        found = max(self._validated, key=lambda one: sign * one[1], default=None)
        return None if found is None else (found[0], found[2])

    def hear(self, event: Event) -> list[Message]:
        """What an event gives to tell."""
        handle = self._HEAR.get(event["type"])
        return [*self.tick(float(event["time"])), *handle(self, event)] if handle else []

    def tick(self, now: float) -> list[Message]:
        """What has waited long enough for files that don't come; ``now`` in unix seconds."""
        if self._scores is not None and now - self._scores[1] > CURVES_SECONDS:
            return list(self.release())
        return []

    def release(self) -> Iterator[Message]:
        """Tell what is held back, as it stands."""
        scores = None
        if self._scores is not None:
            event = self._scores[0]
            scores = self.training.scores(event)
            self._known |= scores.named
            self._note_best(event, scores)
        if self._row is not None:
            yield from self._tell_row(self._row)
        if self._scores is not None and scores is not None:
            yield self._validation(self._scores[0], scores)
        self._row = self._scores = None
        behind, self._behind = self._behind, []
        for row in behind:
            yield from self._tell_row(row)

    # --- events ---------------------------------------------------------------------------------------------

    def _run_started(self, event: Event) -> Iterator[Message]:
        self.training.event, self.last_word = event, None
        self._told_at = float(event["time"])
        if not event.get("resumed"):
            self.epochs, self._validated, self._known, self._sums = 0, [], {}, _Sums()
            self._row = self._scores = self.final = None
            self._behind = []
            yield self._begin(event, 0)
        yield from self._early()
        yield from self._line(event, "INFO", event_text(event) or "training starts")

    def _resumed(self, event: Event) -> Iterator[Message]:
        self.epochs = min(self.training.total, int(event.get("epoch") or 0))
        self._validated = [one for one in self._validated if one[0] <= self.epochs]
        self._sums, self._iteration = _Sums(self.epochs), int(event.get("iter") or 0)
        if self._scores is not None and int(self._scores[0]["iter"]) > self._iteration:
            self._scores = None
        if self._row is not None and self._row.epoch > self.epochs:
            self._row = None
        self._behind = [row for row in self._behind if row.epoch <= self.epochs]
        yield self._begin(event, self.epochs)
        if self._scores is not None:
            yield from self.release()  # the process that was to write the curves is gone

    def _train(self, event: Event) -> Iterator[Message]:
        epoch, iteration = int(event["epoch"]), int(event["iter"])
        if self._row is not None and self._scores is None and epoch > self._row.epoch:
            yield from self.release()  # a log of an older version: no validation has followed
        if self.training.by_iteration:
            yield from self._pass(event, epoch, iteration)
        self._eta, self._iteration = event.get("eta"), iteration
        now = float(event["time"])
        if now - self._told_at >= PROGRESS_SECONDS and self._row is None:
            self._told_at = now
            yield self._progress(event, epoch)

    def _pass(self, event: Event, epoch: int, iteration: int) -> Iterator[Message]:
        """A loop that counts iterations has trained on."""
        if epoch > self._sums.epoch:
            if self._sums.iterations:
                row = MetricRow(self._sums.epoch, self._sums.means, event.get("lr"), None, self._eta)
                if self._scores is None:
                    yield from self._tell_row(row)
                else:
                    self._behind.append(row)
            self._sums = _Sums(epoch)
        self._sums.add(event.get("losses") or {}, max(1, iteration - self._iteration))

    def _epoch(self, event: Event) -> Iterator[Message]:
        yield from self.release()
        epoch = int(event["epoch"])
        self._row = MetricRow(
            epoch, dict(event.get("losses") or {}), event.get("lr"), event.get("seconds"), self._eta
        )
        self.epochs, self._told_at = max(self.epochs, epoch), float(event["time"])
        if event.get("validates") is False:
            yield from self.release()

    def _validation_ended(self, event: Event) -> Iterator[Message]:
        if self._scores is not None:
            yield from self.release()
        self.epochs = max(self.epochs, min(self.training.total, int(event["epoch"])))
        self._scores = event, float(event["time"])
        self._row = self._row or self._part(event)

    def _artifact(self, event: Event) -> Iterator[Message]:
        if event.get("kind") != "curves" or self._scores is None:
            return
        if Path(str(event.get("path"))).stem == self.training.point(self._scores[0]):
            yield from self.release()

    def _log(self, event: Event) -> Iterator[Message]:
        level = str(event.get("level") or "INFO")
        level = {"CRITICAL": "ERROR", "WARN": "WARNING"}.get(level, level)
        yield from self._line(event, level, str(event.get("message") or ""))

    def _warning(self, event: Event) -> Iterator[Message]:
        yield from self._line(event, "WARNING", str(event.get("message") or ""))

    def _ended(self, event: Event) -> Iterator[Message]:
        self.last_word = event
        yield from self._early()
        if event["type"] != "cancelled":  # what is held back then may be told when it is gone on with
            if self.training.by_iteration and self._sums.iterations and self._row is None:
                self._row = MetricRow(min(self.training.total, self._sums.epoch), self._sums.means, None)
            yield from self.release()

    _HEAR: dict[str, Callable[[EventTranslator, Event], Iterator[Message]]] = {
        "run_started": _run_started,
        "resumed": _resumed,
        "train": _train,
        "epoch": _epoch,
        "validation": _validation_ended,
        "artifact": _artifact,
        "log": _log,
        "warning": _warning,
        **dict.fromkeys(("finished", "failed", "pruned", "cancelled"), _ended),
    }

    # --- bodies ---------------------------------------------------------------------------------------------

    def _begin(self, event: Event, epoch: int) -> Message:
        body = ProgressPayload(self.job_id, epoch, self.training.total)
        return Message(f"started:{_stamp(event)}", "started", body)

    def _progress(self, event: Event, epoch: int) -> Message:
        body = ProgressPayload(
            self.job_id,
            min(epoch, self.training.total),
            self.training.total,
            progress_percent=round(100.0 * self.training.share(int(event["iter"])), 4),
            best_checkpoint_path=self.links().get("best"),
            estimated_time_remaining=_positive(self._eta),
        )
        return Message(f"progress:{_stamp(event)}", "progress", body)

    def _tell_row(self, row: MetricRow) -> Iterator[Message]:
        epoch = min(row.epoch, self.training.total)
        self.epochs = max(self.epochs, epoch)
        self.final = self._metrics(row)
        if epoch < 1 or (epoch % self.interval and epoch != self.training.total):
            return
        body = ProgressPayload(
            self.job_id,
            epoch,
            self.training.total,
            metrics=self.final,
            best_checkpoint_path=self.links().get("best"),
            epoch_duration_seconds=_positive(row.seconds),
            estimated_time_remaining=_positive(row.eta),
        )
        yield Message(f"row:{epoch}", "row", body)

    def _metrics(self, row: MetricRow) -> MetricsPayload:
        losses = {name: value for name, value in row.losses.items() if value is not None}
        parts = [float(value) for name, value in losses.items() if "loss" in name]
        loss = losses.get("loss", sum(parts) if parts and "loss" not in row.losses else None)
        _, accuracy = headline(self.training.task, self._known, *self.training.primary)
        extra = {**losses, **({} if loss is None else {"loss": loss})}
        if row.lr is not None:
            extra["learning_rate"] = row.lr
        return MetricsPayload(loss, accuracy, row.lr, {**extra, **self._known})

    def _validation(self, event: Event, scores: Scores) -> Message:
        name, value = headline(self.training.task, scores.named, *self.training.primary)
        images = image_results(self.training.file("predictions", event))
        links = {key: link for key, link in self.links().items() if key not in ("best", "last")}
        body = ValidationPayload(
            self.job_id,
            min(int(event["epoch"]), self.training.total),
            LONG.get(self.training.task, self.training.task),
            primary_metric_name=name,
            primary_metric_value=value,
            metrics=scores.aliased,
            per_class_metrics=scores.classwise or None,
            confusion_matrix=scores.matrix,
            pr_curves=scores.precision_curves,
            class_names=list(scores.classes),
            visualization_urls=links or None,
            sample_correct_images=[one.image_name for one in images if one.is_correct] or None,
            sample_incorrect_images=[one.image_name for one in images if not one.is_correct] or None,
            image_results=images or None,
        )
        return Message(f"validation:{event['epoch']}:{_stamp(event)}", "validation", body)

    def _early(self) -> Iterator[Message]:
        before, self._before = self._before, []
        for event, level, message in before:
            yield from self._line(event, level, message)

    def _line(self, event: Event, level: str, message: str) -> Iterator[Message]:
        if not self.training.event and self.last_word is None:
            self._before.append((event, level, message))  # "started" comes first
            return
        self._logs += 1
        if self._logs > MOST_LOGS or not message.strip():
            return
        if self._logs == MOST_LOGS:
            message = "no further lines are passed on; the run directory's train.log has them all"
        body = LogPayload(self.job_id, "trainer", message, level, timestamp=timestamp(float(event["time"])))
        yield Message(f"log:{_stamp(event)}", "log", body)

    # --- what is known --------------------------------------------------------------------------------------

    def _part(self, event: Event) -> MetricRow | None:
        """The epoch that a validation falls into, where the loop doesn't tell of epochs."""
        if not self.training.by_iteration or not self._sums.iterations:
            return None
        return MetricRow(
            min(self.training.total, int(event["epoch"])), self._sums.means, None, None, self._eta
        )

    def _note_best(self, event: Event, scores: Scores) -> None:
        value = scores.named.get(self.training.primary[0])
        if value is None or not math.isfinite(value):
            return
        epoch = min(self.training.total, int(event["epoch"]))
        row = self._row or MetricRow(epoch, {}, None)
        self._validated = [one for one in self._validated if one[0] != epoch]
        self._validated.append((epoch, float(value), self._metrics(row)))


def _stamp(event: Event) -> str:
    """What tells an event from all others of the job, of another machine's log too."""
    return f"{event.get('seq', 0)}:{int(float(event['time']))}"


def _positive(value: float | None) -> float | None:
    return None if value is None else max(0.0, float(value))
