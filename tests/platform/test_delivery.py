"""Delivery to a real HTTP server that fails in every way that a backend does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.platform.receiver import Receiver, first, wait_for
from trainer.platform.callbacks import delivery as module
from trainer.platform.callbacks.delivery import Delivery, Retry
from trainer.platform.callbacks.payloads import (
    CompletionPayload,
    LogPayload,
    MetricsPayload,
    ProgressPayload,
    ValidationPayload,
)

ROOT = Path(__file__).parents[2]
SOON = Retry(max_retries=3, delay=0.01)


@pytest.fixture
def deliver(tmp_path, backend):
    """Makes the delivery of one job; a second one goes on with the first one's outbox."""
    made: list[Delivery] = []

    def make(retry: Retry = SOON, **options) -> Delivery:
        for one in made:
            one.close()
        made.append(Delivery(tmp_path / "outbox", backend.address, retry, **options))
        return made[-1]

    yield make
    backend.free.set()
    for one in made:
        one.close()


def row(epoch: int) -> tuple[str, str, int, ProgressPayload]:
    return f"row:{epoch}", "row", 42, ProgressPayload(42, epoch, 9, metrics=MetricsPayload(loss=1.0 / epoch))


def validation(epoch: int) -> tuple[str, str, int, ValidationPayload]:
    return f"validation:{epoch}", "validation", 42, ValidationPayload(42, epoch, "object_detection")


def bare(epoch: int) -> tuple[str, str, int, ProgressPayload]:
    return f"progress:{epoch}", "progress", 42, ProgressPayload(42, epoch, 9)


def line(number: int) -> tuple[str, str, int, LogPayload]:
    return f"log:{number}", "log", 42, LogPayload(42, "trainer", f"line {number}")


END = "completion", "completion", 42, CompletionPayload(42, "completed", 9, exit_code=0)


def epochs(backend: Receiver) -> list[int]:
    return [body["current_epoch"] for body in backend.rows]


def test_delivers_in_order_one_at_a_time_to_the_routes(deliver, backend):
    under_way, most = [], []

    def slow(request):
        under_way.append(request)
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.pop()
        return 200

    backend.mode = slow
    delivery = deliver()
    for one in (row(1), validation(1), line(1), row(2), END):
        delivery.tell(*one)
    assert delivery.flush(60)
    assert [one.path.removeprefix("/api/v1") for one in backend.requests] == [
        "/training/jobs/42/callback/progress",
        "/validation/jobs/42/results",
        "/training/jobs/42/callback/logs",
        "/training/jobs/42/callback/progress",
        "/training/jobs/42/callback/completion",
    ]
    assert max(most) == 1
    assert backend.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_failures_that_pass_are_tried_again(deliver, backend, status):
    backend.mode = first(2, status)
    delivery = deliver()
    delivery.tell(*row(1))
    delivery.tell(*row(2))
    assert delivery.flush(60)
    assert [one.status for one in backend.requests] == [status, status, 200, 200]
    assert epochs(backend) == [1, 2]


def test_a_refused_body_is_logged_with_the_answer_and_not_repeated(deliver, backend, caplog):
    backend.mode = lambda request: 422 if request.body["current_epoch"] == 1 else 200
    delivery = deliver()
    delivery.tell(*row(1))
    delivery.tell(*row(2))
    assert delivery.flush(60)
    assert [one.status for one in backend.requests] == [422, 200]
    assert "refuses row:1" in caplog.text
    assert "answer 422" in caplog.text
    assert "answer 422" in delivery.outbox.why("row:1")


def test_waits_as_long_as_it_is_asked_to(deliver, backend):
    backend.mode = first(1, (429, {"Retry-After": "0.4"}))
    delivery = deliver()
    delivery.tell(*row(1))
    assert delivery.flush(60)
    before, after = (one.time for one in backend.requests)
    assert after - before >= 0.4


def test_pauses_double_within_a_round_and_a_round_has_so_many_tries(deliver, backend, monkeypatch):
    pauses = []
    monkeypatch.setattr(Delivery, "_pause", lambda self, seconds, retry_after: pauses.append(seconds))
    backend.mode = first(5, 503)
    delivery = deliver(Retry(max_retries=3, delay=2.0))
    delivery.tell(*row(1))
    assert delivery.flush(60)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 2.0]
    assert epochs(backend) == [1]


def test_nothing_is_lost_while_nobody_listens(deliver, backend):
    delivery = deliver()
    delivery.tell(*row(1))
    assert delivery.flush(60)
    backend.stop()
    for epoch in (2, 3):
        delivery.tell(*row(epoch))
        delivery.tell(*validation(epoch))
        delivery.tell(*bare(epoch))
    wait_for(lambda: delivery.trouble)
    assert "Connect" in delivery.trouble
    assert not delivery.flush(0.2)
    backend.start()
    delivery.tell(*END)
    assert delivery.flush(60)
    assert [one.route for one in backend.taken] == [
        "progress", "progress", "results", "progress", "results", "progress", "completion",
    ]  # fmt: skip
    assert epochs(backend) == [1, 2, 3]


def test_a_broken_connection_is_tried_again(deliver, backend):
    backend.mode = first(2, backend.close)
    delivery = deliver()
    delivery.tell(*row(1))
    delivery.tell(*validation(1))
    assert delivery.flush(60)
    assert [one.status for one in backend.requests] == [None, None, 200, 200]


def test_a_row_that_the_backend_is_silent_about_is_not_sent_twice(deliver, backend, monkeypatch):
    monkeypatch.setattr(module, "READ", 0.3)
    backend.mode = first(1, backend.hang)
    delivery = deliver()
    delivery.tell(*row(1))
    delivery.tell(*row(2))
    assert delivery.flush(60)
    assert [one.body["current_epoch"] for one in backend.requests] == [1, 2]
    assert "unknown" in delivery.outbox.why("row:1")


@pytest.mark.parametrize("body", [validation(1), bare(1), END])
def test_what_changes_nothing_the_second_time_is_sent_again_after_silence(
    deliver, backend, monkeypatch, body
):
    monkeypatch.setattr(module, "READ", 0.3)
    backend.mode = first(1, backend.hang)
    delivery = deliver()
    delivery.tell(*body)
    assert delivery.flush(60)
    assert [one.status for one in backend.requests] == [None, 200]


def test_a_line_for_the_log_that_the_backend_fails_at_holds_nothing_up(deliver, backend):
    backend.mode = lambda request: 500 if request.route == "logs" else 200
    delivery = deliver()
    for one in (line(1), row(1), line(2), END):
        delivery.tell(*one)
    assert delivery.flush(60)
    assert [one.route for one in backend.taken] == ["progress", "completion"]
    assert len([one for one in backend.requests if one.route == "logs"]) == 2 * (1 + SOON.max_retries)


def test_a_body_that_only_the_backend_can_not_cope_with_holds_nothing_up(deliver, backend, caplog):
    backend.mode = lambda request: 500 if request.route == "results" else 200
    delivery = deliver()
    for one in (row(1), validation(1), row(2), END):
        delivery.tell(*one)
    assert delivery.flush(60)
    assert [one.route for one in backend.taken] == ["progress", "progress", "completion"]
    assert "fails at validation:1" in caplog.text


def test_a_backend_that_fails_at_everything_for_long_gets_everything_in_order_afterwards(deliver, backend):
    backend.mode = first(12, 500)
    delivery = deliver()
    for epoch in (1, 2, 3):
        delivery.tell(*row(epoch))
        delivery.tell(*validation(epoch))
    delivery.tell(*END)
    assert delivery.flush(60)
    assert epochs(backend) == [1, 2, 3]
    assert [one.route for one in backend.taken][-1] == "completion"
    assert len(backend.taken) == 7


def test_after_a_cancellation_there_is_silence_and_what_waits_is_kept(deliver, backend):
    cancelled = False

    def cancel(request):
        nonlocal cancelled
        cancelled = True
        return 503

    backend.mode = first(1, cancel)
    delivery = deliver(silent=lambda: cancelled)
    delivery.tell(*row(1))
    delivery.tell(*row(2))
    assert not delivery.flush(0.5)
    assert [one.status for one in backend.requests] == [503]
    cancelled = False
    assert deliver().flush(60)
    assert epochs(backend) == [1, 2]


def test_a_redirect_is_followed_with_the_body(deliver, backend):
    other = f"{backend.address}/elsewhere"
    backend.mode = first(1, (307, {"Location": other}))
    delivery = deliver()
    delivery.tell(*row(1))
    assert delivery.flush(60)
    assert backend.taken[0].path == "/api/v1/elsewhere"
    assert backend.taken[0].body["current_epoch"] == 1


def test_an_address_with_a_password_is_not_written_down(tmp_path, caplog):
    with Receiver() as backend:
        backend.stop()
        address = backend.address.replace("http://", "http://me:hunter22@")
        delivery = Delivery(tmp_path, address, SOON)
        delivery.tell(*row(1))
        delivery.start()
        wait_for(lambda: "waits in the outbox" in caplog.text)
        delivery.close()
    assert "hunter22" not in caplog.text + str(delivery.trouble) + (tmp_path / "outbox.jsonl").read_text()


SENDER = """
import sys, time
from trainer.platform.callbacks.payloads import CompletionPayload, MetricsPayload, ProgressPayload, ValidationPayload
from trainer.platform.callbacks.delivery import Delivery, Retry
delivery = Delivery(sys.argv[1], sys.argv[2], Retry(3, 0.01))
delivery.start()
for epoch in range(1, 26):
    body = ProgressPayload(42, epoch, 25, metrics=MetricsPayload(loss=1.0))
    delivery.tell(f"row:{epoch}", "row", 42, body)
    delivery.tell(f"validation:{epoch}", "validation", 42, ValidationPayload(42, epoch, "object_detection"))
    time.sleep(0.01)
delivery.tell("completion", "completion", 42, CompletionPayload(42, "completed", 25, exit_code=0))
sys.exit(not delivery.flush(120))
"""


def test_kills_and_absences_lose_nothing_repeat_no_row_and_keep_the_order(tmp_path, backend):
    """The sender is killed again and again while the backend comes and goes.

    A row may be missing only where the sender was killed between its first byte and the note of its answer; the
    journal says so.
    """
    draw = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SENDER, str(tmp_path / "outbox"), backend.address]
    for kill in range(5):
        if kill % 2:
            backend.stop()
        seen = len(backend.requests)
        sender = subprocess.Popen(command, env=environment)
        try:
            if kill % 2:  # so that it is killed where it can't connect, too
                time.sleep(0.5 + draw.random() / 2)
                backend.start()
            wait_for(lambda: len(backend.requests) >= seen + draw.randint(2, 8) or sender.poll() is not None)  # noqa: B023
        finally:
            sender.send_signal(signal.SIGKILL)
            sender.wait()
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0

    unknown = [
        int(record.split('"row:')[1].split('"')[0])
        for record in (tmp_path / "outbox" / "outbox.jsonl").read_text().splitlines()
        if '"why": "unknown' in record
    ]
    arrived = epochs(backend)
    assert arrived == sorted(set(arrived))
    assert set(range(1, 26)) - set(arrived) <= set(unknown)
    assert len(unknown) <= 5
    validations = [body["epoch"] for body in backend.of("results")]
    assert sorted(set(validations)) == list(range(1, 26))
    assert [one.route for one in backend.taken].count("completion") == 1
    assert backend.taken[-1].route == "completion"
