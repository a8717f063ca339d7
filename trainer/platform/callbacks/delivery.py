"""Callbacks on their way: in order, one at a time, on a thread of its own, from the outbox to the backend.

What is tried again, in rounds of ``1 + max_retries`` tries with doubling pauses and jitter: an address that doesn't
answer, connections that break, 408, 429 (with its ``Retry-After``) and 5xx. After a round the body stays first in the
outbox and is tried again later, for as long as the process lives; ``replay`` goes on from there. What the backend
refuses (any other 4xx) is logged with its answer and not sent again. A line for the log that the backend fails at is
given up after a round; any other body that it fails at while it takes the next one, after two.

Where an answer is lost, the backend may have the body. Sent again: what doesn't add anything the second time
(validation, completion, progress without metrics), and what a broken connection has cut short, since a server that
goes away has stored nothing. Not sent again: a body that appends (an epoch's row, a log line) that the backend was
silent about for a minute, or that was under way when this process was killed, since then it most likely has it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.secrets import mask_text, mask_urls
from trainer.platform.callbacks.outbox import Outbox, OutboxEntry
from trainer.platform.callbacks.payloads import ROUTES, Payload

logger = logging.getLogger("trainer")

# Seconds to connect, to wait for an answer, to send, as the platform's own client has them.
CONNECT, READ, WRITE = 15.0, 60.0, 30.0
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 300.0
ANSWER_CHARACTERS = 1000
ROUNDS_AT_A_BODY = 2
AGAIN = (408, 429)


@dataclass(frozen=True)
class Retry:
    """How often a body is tried in a round, besides the first time, and the seconds before the second try."""

    max_retries: int = 3
    delay: float = 2.0


@dataclass(frozen=True)
class CallbackResponse:
    """What became of one try.

    Attributes:
        status: the HTTP status; None where there was no answer.
        text: the answer, or what went wrong; without secrets.
        sent: the backend may have the body.
        late: it didn't answer in time, rather than breaking the connection.
        retry_after: seconds that it asks for.
    """

    status: int | None
    text: str
    sent: bool = False
    late: bool = False
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        return self.status is not None and self.status < 500 and not self.taken and self.status not in AGAIN

    @property
    def failed(self) -> bool:
        """The backend took a look at the body and broke down."""
        return self.status is not None and self.status >= 500


class Delivery:
    """Delivers one job's outbox.

    Args:
        folder: of the outbox.
        address: the callback address, ``http://backend:8000/api/v1``.
        retry: the rounds.
        silent: asked before each try; while it says yes nothing is sent: the job was cancelled.
        sending: called with an entry right before its bytes go out.
    """

    def __init__(
        self,
        folder: str | Path,
        address: str,
        retry: Retry | None = None,
        *,
        silent: Callable[[], bool] = lambda: False,
        sending: Callable[[OutboxEntry], None] = lambda entry: None,
    ) -> None:
        self.outbox = Outbox(folder)
        self.address, self.retry = address.rstrip("/"), retry or Retry()
        self.silent, self.sending = silent, sending
        self.trouble: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._give_up_killed()

    def start(self) -> None:
        """Begin delivering."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._go, name="callbacks", daemon=True)
            self._thread.start()

    def tell(self, key: str, kind: str, job_id: int, body: Payload) -> bool:
        """Put a body into the outbox; False when the key is known already. Safe on disk when this returns.

        Args:
            key: what it tells, once: ``row:3``.
            kind: see :class:`trainer.platform.callbacks.outbox.OutboxEntry`.

        Raises:
            ValidationError: the backend would refuse it.
        """
        if self.outbox.knows(key):
            return False
        return self.outbox.put(key, kind, ROUTES[body.route].format(id=job_id), body.content())

    def flush(self, seconds: float) -> bool:
        """Wait at most so long until nothing waits; whether that is so."""
        self.start()
        deadline = time.monotonic() + seconds
        while len(self.outbox):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Stop after the try under way, which isn't waited for long."""
        self._stop.set()
        self.outbox.changed.set()
        if self._thread is not None:
            self._thread.join(1.0)
            if self._thread.is_alive():
                return  # it may still note how its try ended
        self.outbox.close()
        if self._client is not None:
            self._client.close()

    def _give_up_killed(self) -> None:
        for entry in self.outbox.waiting():
            if entry.sent and entry.appends:
                self.outbox.done(entry.key, "unknown: it was under way when its process was killed")

    def _go(self) -> None:
        while not self._stop.is_set():
            try:
                entry = None if self.silent() else self.outbox.first()
                if entry is None:
                    self.trouble = None
                    self.outbox.changed.wait(1.0)
                    self.outbox.changed.clear()
                else:
                    self._deliver(entry)
            except Exception as error:  # a full disk under the journal
                self.trouble = mask_text(f"{type(error).__name__}: {error}")
                logger.warning("callbacks: %s", self.trouble)
                self._stop.wait(1.0)

    def _deliver(self, entry: OutboxEntry) -> None:
        """Try until something is done about the entry."""
        tries = rounds = 0
        while not self._stop.is_set() and not self.silent():
            if self.outbox.why(entry.key) is not None:
                return  # superseded
            answer = self._try(entry)
            if self._settled(entry, answer):
                return
            tries += 1
            over = tries > self.retry.max_retries
            rounds += over
            if over and answer.failed and self._given_up(entry, answer, rounds):
                return
            pause = self.retry.delay * 2.0 ** (tries - 1)
            if over:
                pause = max(pause * 2.0 ** (rounds - 1), self.retry.delay)
                tries = 0
                logger.warning(
                    "callbacks: %s waits in the outbox (%s)", entry.key, answer.text.splitlines()[0]
                )
            self._pause(min(pause, LONGEST_PAUSE), answer.retry_after)

    def _settled(self, entry: OutboxEntry, answer: CallbackResponse) -> bool:
        if answer.taken:
            self.trouble = None
            self.outbox.done(entry.key)
            return True
        self.trouble = answer.text.splitlines()[0][:300]
        if answer.refused:
            logger.error("callbacks: the backend refuses %s: %s", entry.key, answer.text)
            self.outbox.done(entry.key, f"refused: {answer.text}")
            return True
        if answer.late and answer.sent and entry.appends:
            logger.warning("callbacks: no answer to %s, which isn't sent twice: %s", entry.key, answer.text)
            self.outbox.done(entry.key, f"unknown: {answer.text}")
            return True
        self.outbox.back(entry.key)
        return False

    def _given_up(self, entry: OutboxEntry, answer: CallbackResponse, rounds: int) -> bool:
        """After a round of 5xx answers: whether the body is what the backend can't cope with."""
        if entry.kind == "log":
            self._give_up(entry, answer)
            return True
        following = self.outbox.first(after=entry.key)
        if rounds < ROUNDS_AT_A_BODY or following is None:
            return False
        if not self._settled(following, self._try(following)):
            return False
        # The one after it got through. Once more, in case the backend has come back just now; but not after the last.
        if following.kind == "completion" or not self._settled(entry, answer := self._try(entry)):
            self._give_up(entry, answer)
        return True

    def _give_up(self, entry: OutboxEntry, answer: CallbackResponse) -> None:
        logger.error("callbacks: the backend fails at %s, which is given up: %s", entry.key, answer.text)
        self.outbox.done(entry.key, f"failed: {answer.text}")

    def _pause(self, seconds: float, retry_after: float | None) -> None:
        seconds *= random.uniform(0.75, 1.25)
        if retry_after is not None:
            seconds = max(seconds, min(retry_after, LONGEST_RETRY_AFTER))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.silent():
            if self._stop.wait(min(left, 0.5)):
                return

    def _try(self, entry: OutboxEntry) -> CallbackResponse:
        import httpx

        sent = False

        def trace(name: str, info: Any) -> None:
            nonlocal sent
            if name.endswith("send_request_headers.started") and not sent:
                sent = True
                self.outbox.sent(entry.key)
                self.sending(entry)

        try:
            response = self._http().post(
                f"{self.address}/{entry.path}",
                json=entry.body,
                headers={"Idempotency-Key": f"{entry.path}:{entry.key}"},
                extensions={"trace": trace},
            )
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            reason = mask_urls(str(error)) or "no answer"
            text = mask_text(f"{type(error).__name__} at {mask_urls(self.address)}: {reason}")
            return CallbackResponse(None, text, sent, isinstance(error, httpx.ReadTimeout))
        text = mask_text(f"{response.status_code}: {response.text[:ANSWER_CHARACTERS]}")
        return CallbackResponse(response.status_code, text, True, retry_after=_seconds(response.headers))

    def _http(self) -> Any:
        if self._client is None:
            import httpx

            # No connection is kept: one that the backend has closed meanwhile would look like a lost answer.
            self._client = httpx.Client(
                timeout=httpx.Timeout(connect=CONNECT, read=READ, write=WRITE, pool=10.0),
                limits=httpx.Limits(max_keepalive_connections=0),
                follow_redirects=True,
            )
        return self._client


def _seconds(headers: Any) -> float | None:
    """``Retry-After``: seconds, or a date."""
    text = headers.get("Retry-After")
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
