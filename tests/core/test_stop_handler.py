"""Two-stage stopping: which signal comes when, and what is there afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from trainer.core.stop_handler import StopHandler


def test_signals_are_counted_and_the_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopHandler() as stop:
        assert (stop.received, stop.count) == (None, 0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.received, stop.count) == (signal.SIGINT, 2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_callback_may_raise() -> None:
    def stop(signum: int, count: int) -> None:
        raise SystemExit(128 + signum)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, StopHandler(stop):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_the_block_runs_without() -> None:
    ran: list[bool] = []

    def block() -> None:
        with StopHandler():
            ran.append(True)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert ran == [True]
