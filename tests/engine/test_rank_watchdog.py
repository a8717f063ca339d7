"""A training thread that waits for a process which has ended is given up, one that notices by itself isn't."""

from __future__ import annotations

import threading

import trainer.engine.distributed.rank_watchdog as watching
from trainer.core.errors import ResourceError
from trainer.engine.distributed.rank_watchdog import RankWatchdog
from trainer.engine.distributed.ranks import RankEnd, Ranks

SECONDS = 60.0


class Two(Ranks):
    size = 2

    def __init__(self, end: RankEnd | None = None) -> None:
        self.end = end
        self.looked = threading.Event()
        self.waited = False

    def other_end(self, seconds: float = 0.0) -> RankEnd | None:
        self.looked.set()
        return self.end

    def wait_for_first(self) -> None:
        self.waited = True


def watch(ranks: Ranks, grace: float, monkeypatch) -> tuple[RankWatchdog, threading.Event]:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    given_up = threading.Event()
    return RankWatchdog(ranks, lambda end: given_up.set(), grace), given_up


def test_given_up_when_another_has_ended(monkeypatch) -> None:
    ranks = Two(RankEnd(1, ResourceError("gone"), lost=True))
    block, given_up = watch(ranks, 0.01, monkeypatch)
    with block:
        assert given_up.wait(SECONDS)
    assert not ranks.waited


def test_what_the_first_has_to_write_is_waited_for(monkeypatch) -> None:
    ranks = Two(RankEnd(0, ResourceError("it failed")))
    block, given_up = watch(ranks, 0.01, monkeypatch)
    with block:
        assert given_up.wait(SECONDS)
    assert ranks.waited


def test_a_thread_that_notices_in_time_ends_by_itself(monkeypatch) -> None:
    ranks = Two(RankEnd(1, ResourceError("gone"), lost=True))
    block, given_up = watch(ranks, SECONDS, monkeypatch)
    with block:
        assert ranks.looked.wait(SECONDS)
    block._thread.join(SECONDS)
    assert not block._thread.is_alive() and not given_up.is_set()


def test_nobody_is_watched_alone(monkeypatch) -> None:
    block, given_up = watch(Ranks(), 0.0, monkeypatch)
    with block:
        assert not block._thread.is_alive()
    assert not given_up.is_set()
