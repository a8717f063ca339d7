"""Whether somebody still works on a trial."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from trainer.sweep.driver import lease
from trainer.sweep.driver.lease import LeaseOwner, LeaseWatch, identify_process, is_alive
from trainer.sweep.stores.trial_store import RUNNING, TrialRecord


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return clock


def record(**notes: Any) -> TrialRecord:
    return TrialRecord(0, RUNNING, notes=notes)


def test_a_driver_elsewhere_is_believed_while_it_counts_on(clock: Clock) -> None:
    other, watch = LeaseOwner(place="elsewhere"), LeaseWatch(LeaseOwner(), 60.0)
    for _ in range(5):
        assert not watch.abandoned(record(lease=other.lease()))
        clock.now += 50.0
    last = record(lease=other.lease())
    assert not watch.abandoned(last)
    clock.now += 59.0
    assert not watch.abandoned(last)
    clock.now += 2.0
    assert watch.abandoned(last)


def test_one_without_a_lease_gets_as_long(clock: Clock) -> None:
    watch = LeaseWatch(LeaseOwner(), 60.0)
    assert not watch.abandoned(record())
    clock.now += 61.0
    assert watch.abandoned(record())


def test_a_driver_here_is_asked_for_by_its_process(clock: Clock) -> None:
    watch = LeaseWatch(LeaseOwner(), 60.0)
    living = LeaseOwner()
    assert not watch.abandoned(record(lease=living.lease()))
    clock.now += 3600.0
    assert not watch.abandoned(record(lease=living.lease()))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert watch.abandoned(record(lease=LeaseOwner(process=(ended.pid, 5.0)).lease()))
    reused = LeaseOwner(process=(os.getpid(), 5.0))  # the number is taken again, by somebody else
    assert watch.abandoned(record(lease=reused.lease()))


def test_one_that_was_given_up_is_free_at_once_and_ours_never(clock: Clock) -> None:
    owner = LeaseOwner()
    assert LeaseWatch(owner, 60.0).abandoned(record(lease=None))
    mine = record(lease=owner.lease())
    clock.now += 3600.0
    assert owner.owns(mine) and not LeaseWatch(owner, 60.0).abandoned(mine)


def test_a_process_that_has_outlived_its_driver_is_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        watch, told = (
            LeaseWatch(LeaseOwner(), 60.0),
            record(lease=LeaseOwner().lease(identify_process(child.pid))),
        )
        assert watch.orphan(told) == identify_process(child.pid)
        assert (
            watch.orphan(record(lease=LeaseOwner(place="elsewhere").lease(identify_process(child.pid))))
            is None
        )
    finally:
        child.kill()
    process = identify_process(child.pid)  # a zombie as long as nobody has waited
    assert not is_alive(process) or child.wait() is not None
    child.wait()
    assert watch.orphan(told) is None and watch.orphan(record(lease=None)) is None
    assert is_alive(identify_process(os.getpid())) and not is_alive(None) and not is_alive(["x"])
