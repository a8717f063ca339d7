"""Telling the platform's backend what a run's event log says, along with the run or afterwards.

Events become bodies in the outbox; from there a thread delivers them, and another one brings checkpoints into the
results store. A job that is cancelled (SIGTERM, or :func:`trainer.platform.callbacks.sink_state.silence`) isn't
told about any more;
every other end is told last, once, after the uploads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.core.errors import NetworkError, TrainerError, ValidationError
from trainer.platform.callbacks import sink_state as states
from trainer.platform.callbacks.delivery import Delivery, Retry
from trainer.platform.callbacks.events_to_payloads import EventTranslator, Message
from trainer.platform.callbacks.outbox import OutboxEntry
from trainer.platform.callbacks.payloads import CompletionPayload, ValidationPayload, failure_text
from trainer.platform.callbacks.sink_state import PlatformSinkState, folder, is_silent, silence
from trainer.platform.storage.result_uploads import CHECKPOINTS, DELIVERED, PLOTS, ResultUploads
from trainer.plots.draw_client import wait_until_drawn
from trainer.runs.events import sink
from trainer.runs.events.reader import Event
from trainer.runs.run import Run

logger = logging.getLogger("trainer")

UPLOAD_SECONDS = 300.0
CANCELLED_SECONDS = 12.0
"""For uploads, at the end of a job that was cancelled: its container is killed half a minute after SIGTERM."""
PLOTS_SECONDS = 10.0
PICTURES_SECONDS = 20.0
"""How long the first validation waits for its plots."""
GONE = "the training process ended without a word; mostly it was killed for lack of memory"


@dataclass(frozen=True)
class Failure:
    """Why a training ended that couldn't say so itself."""

    kind: str = "ResourceError"
    message: str = GONE
    exit_code: int = 1


class Undelivered(NetworkError):
    """Callbacks are left in the outbox."""


class PlatformSink(sink.Sink):
    """One run as a job of one backend.

    Args:
        uri: another callback address than the run's own.
        flush_seconds: how long the end may be waited for; None: as configured.
        failure: told where the run has ended without a last word.

    Raises:
        ConfigError: the run is no job of a platform.
    """

    name = states.NAME
    cursor: PlatformSinkState

    def __init__(
        self,
        run: Run,
        uri: str | None = None,
        flush_seconds: float | None = None,
        failure: Failure | None = None,
    ) -> None:
        super().__init__(run)
        self.cursor = states.load(run, uri)
        # What was told is known by the outbox; the log is read again to know what comes next.
        self.cursor.offset = self.cursor.line = 0
        self.flush_seconds = self.cursor.flush_seconds if flush_seconds is None else flush_seconds
        self.failure = failure or Failure()
        self._open = False
        self._held: list[Message] = []
        self._held_until = 0.0

    def open(self) -> None:
        if self._open:
            return
        state = self.cursor
        self.narrator = EventTranslator(self.run.dir, state.job_id, state.interval, lambda: dict(state.links))
        new = not folder(self.run.dir).exists()
        self.delivery = Delivery(
            folder(self.run.dir),
            state.full_address,
            Retry(state.max_retries, state.retry_delay),
            silent=lambda: is_silent(self.run.dir),
            sending=self._sending,
        )
        self.uploads = ResultUploads(self.run, state, self.delivery.outbox.told)
        if new:
            self.delivery.outbox.adopt(self.uploads.recall())
        self.delivery.start()
        self._open = True

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                messages = self.narrator.hear(event)
            except (KeyError, TypeError, ValueError) as error:  # an event of another version
                logger.warning("callbacks: the event %s can't be told: %r", event.get("type"), error)
                continue
            self._put(messages)
            kind = event["type"]
            if kind == "checkpoint" and event.get("kind") in CHECKPOINTS:
                self.uploads.add(str(event["kind"]))
            elif kind == "artifact" and event.get("kind") == "plot":
                self.uploads.add_plot(str(event.get("path")))

    def beat(self) -> str | None:
        self._put(self.narrator.tick(time.time()))
        if self._held and (self._pictures() or time.monotonic() > self._held_until):
            self._let_go()
        before = dict(self.cursor.uploaded)
        self.uploads.add(DELIVERED)
        trouble = self.uploads.beat()
        if before != self.cursor.uploaded:
            self.save()
        return trouble or self.delivery.trouble

    def finish(self, gone: bool) -> None:
        """Upload what there is, then say how it ended; in silence, where the job was cancelled.

        Raises:
            Undelivered: not all of it got through in time.
        """
        word = self.narrator.last_word
        if word is not None and float(word["time"]) < self.cursor.since:
            word, gone = None, gone or not sink.is_running(self.run)
        if word is None and not gone:
            self._flush()  # of a run that goes on
            return
        if word is not None and word["type"] == "cancelled" and word.get("signal") != "SIGINT":
            silence(self.run.dir)
        if is_silent(self.run.dir):
            self._upload(CANCELLED_SECONDS)
            return
        self._put(list(self.narrator.release()))
        if word is not None:
            wait_until_drawn(self.run.dir, PLOTS_SECONDS)
        self._upload(UPLOAD_SECONDS)
        self._let_go()
        key, body = self._completion(word)
        self.delivery.tell(key, "completion", self.cursor.job_id, body)
        self._flush()
        if body.status == "completed" and self.delivery.outbox.why(key) == "delivered":
            self.uploads.forget()
        else:
            self.uploads.mark()

    def rewind(self) -> None:
        self.cursor.offset = 0

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, Undelivered)

    def words(self, error: Exception) -> str:
        return super().words(error) if not isinstance(error, TrainerError) else error.message

    def close(self) -> None:
        if self._open:
            self.delivery.close()
            self.uploads.close()

    def _flush(self) -> None:
        if not self.delivery.flush(self.flush_seconds):
            reason = self.delivery.trouble or "no answer yet"
            raise Undelivered(
                f"{len(self.delivery.outbox)} callbacks wait for {self.cursor.address} ({reason})"
            )

    def _put(self, messages: Sequence[Message]) -> None:
        for one in messages:
            if one.kind == "validation" and not self._held and self._awaits_pictures(one):
                self._held_until = time.monotonic() + PICTURES_SECONDS
                self._held.append(one)
            elif self._held:
                self._held.append(one)  # the order stays
            else:
                self._tell(one)

    def _awaits_pictures(self, message: Message) -> bool:
        """Whether a validation is the first whose plots go to the store, which are only being drawn: the backend
        takes their addresses once, and they stay the same."""
        drawn = (self.run.dir / "plots").exists() or (self.run.dir / "sinks" / "plots.pid").exists()
        known = self.delivery.outbox.knows(message.key)
        return self.cursor.upload and drawn and not known and not self._pictures()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for one in held:
            if isinstance(one.body, ValidationPayload):
                one.body.visualization_urls = self._pictures() or None
            self._tell(one)

    def _pictures(self) -> dict[str, str]:
        links = {name: link for name, link in self.cursor.links.items() if name not in CHECKPOINTS}
        return links if len(links) >= self._drawn() else {}

    def _drawn(self) -> int:
        """How many of the plots that are uploaded there are by now, at least one."""
        return max(1, sum((self.run.dir / "plots" / f"{name}.png").exists() for name in PLOTS))

    def _tell(self, message: Message) -> None:
        try:
            self.delivery.tell(message.key, message.kind, self.cursor.job_id, message.body)
        except ValidationError as error:
            logger.error("callbacks: %s isn't sent: %s", message.key, error.message)

    def _sending(self, entry: OutboxEntry) -> None:
        # Where another pod goes on, it must know: a row is added each time it is sent.
        if entry.kind == "row":
            self.uploads.mark()

    def _upload(self, seconds: float) -> None:
        for name in CHECKPOINTS:
            self.uploads.add(name)
        for path in sorted((self.run.dir / "plots").glob("*.png")):
            self.uploads.add_plot(f"plots/{path.name}")
        trouble = self.uploads.drain(seconds)
        if trouble:
            logger.error("callbacks: %s", trouble)
        self.save()

    def _completion(self, word: Event | None) -> tuple[str, CompletionPayload]:
        narrator, links, facts = self.narrator, self.cursor.links, self.run.facts
        result = (word or {}).get("result") or {}
        best = narrator.best
        body = CompletionPayload(
            self.cursor.job_id,
            "failed",
            int(result.get("epochs_completed") or narrator.epochs),
            final_metrics=narrator.final,
            best_epoch=best[0] if best else None,
            best_metrics=best[1] if best else None,
            best_checkpoint_path=links.get("best"),
            last_checkpoint_path=links.get("last"),
            final_checkpoint_path=links.get("last"),
            mlflow_run_id=facts.get("mlflow_run_id") or result.get("mlflow_run_id"),
            total_duration_seconds=result.get("duration_seconds"),
            exit_code=1,
        )
        if word is None:
            body.error_message = failure_text(self.failure.kind, self.failure.message)
            body.exit_code = self.failure.exit_code
            return f"completion:gone:{int(self.cursor.since)}", body
        kind = word["type"]
        if kind == "failed":
            error = word.get("error") or {}
            body.error_message = failure_text(
                str(error.get("type", "UnknownError")), str(error.get("message"))
            )
            body.traceback = word.get("traceback")
        elif kind == "cancelled":  # by Ctrl-C: nobody else knows
            body.status, body.exit_code = "cancelled", None
            body.error_message = "training was stopped at the keyboard"
        else:
            body.status, body.exit_code = "completed", 0
        return f"completion:{word.get('seq', 0)}:{int(float(word['time']))}", body
