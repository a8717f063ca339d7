"""However one of two processes that train together ends, both end within seconds, and people are told why."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.engine.checkpoint.file import load
from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 3}


def told(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.dir / "result.json").read_text()))


def codes(forked: list[Any]) -> list[int]:
    return [one.wait() for one in forked]


def test_an_error_of_the_first_is_told_once(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    forked = forks.train_together(run, **OPTIONS, hooks=[{"type": "FailAt", "iteration": 3, "rank": 0}])
    assert codes(forked) == [1, 1], forked[1].output
    assert "DatasetError: a file is missing: /data/missing.jpg" in forked[0].output
    assert forked[1].output == ""
    assert told(run)["error"]["message"] == "a file is missing: /data/missing.jpg"


def test_full_memory_of_another_is_its_error_with_its_place(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    failing = {"type": "FailAt", "iteration": 3, "rank": 1, "memory": True}
    forked = forks.train_together(run, **OPTIONS, hooks=[failing])
    assert codes(forked) == [1, 1], forked[0].output
    assert "ResourceError: process 1: the GPU's memory is full" in forked[0].output
    assert forked[1].output == ""
    assert told(run)["status"] == "failed"
    last = list(events(run.events))[-1]
    assert last["type"] == "failed" and "process 1: " in last["error"]["message"]
    assert "in before_train_iter" in (run.dir / "train.log").read_text()


def test_where_the_first_was_killed_another_says_so(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    forked = forks.train_together(run, **OPTIONS, hooks=[{"type": "KillAt", "iteration": 6, "rank": 0}])
    assert codes(forked) == [-9, 1], forked[1].output
    error = told(run)["error"]
    assert error["type"] == "ResourceError"
    assert error["message"].startswith(f"process 0 (pid {forked[0].pid} on ")
    assert f"ResourceError: {error['message']}" in forked[1].output
    assert [event["type"] for event in events(run.events)].count("failed") == 1
    assert run.facts["attempts"][-1]["status"] == "failed"
    went_on = forks.train_together(run, **OPTIONS, exp_resume=True)
    assert codes(went_on) == [0, 0], went_on[0].output
    assert told(run)["status"] == "finished" and told(run)["error"] is None


@pytest.mark.parametrize("stuck", [0, 1])
def test_waiting_for_a_dead_process_has_an_end(tmp_path: Path, forks: Any, stuck: int) -> None:
    """As over nccl, where a step waits for ever for a process that was killed."""
    run = Run.create(tmp_path, "toy", "toy")
    hooks = [
        {"type": "HangAt", "iteration": 6, "rank": stuck},
        {"type": "KillAt", "iteration": 6, "rank": 1 - stuck},
    ]
    forked = forks.train_together(run, **OPTIONS, hooks=hooks, grace=1.0)
    assert forked[stuck].wait() == 1, forked[stuck].output
    message = told(run)["error"]["message"]
    assert message.startswith(f"process {1 - stuck} (pid ") and message in forked[stuck].output


@pytest.mark.parametrize("val", [False, True])
def test_a_signal_to_every_process_there_is_saves(tmp_path: Path, forks: Any, val: bool) -> None:
    """torchrun and SLURM send SIGTERM to the data loaders' processes too, which still have batches to give."""
    run = Run.create(tmp_path, "toy", "toy")
    slow = {"slow": 0.05}
    forked = forks.start_together(
        run, **{**OPTIONS, "epochs": 50}, workers=1, data=slow, val_data=slow, exp_runtime__log_interval=1
    )
    wanted = "epoch" if val else "train"
    until = time.monotonic() + 120
    while wanted not in [event["type"] for event in events(run.events)] if run.events.exists() else True:
        assert forked[0].poll() is None, forked[0].output + forked[1].output
        assert time.monotonic() < until
        time.sleep(0.02)
    for one in forked:
        os.killpg(one.pid, signal.SIGTERM)
    assert codes(forked) == [143, 143], forked[0].output + forked[1].output
    assert forked[1].output == ""
    assert told(run)["status"] == "cancelled"
    entry = Manifest(run.checkpoints).read()["last"]
    assert entry["iter"] > 0 and len(load(run.checkpoints / "last.pth")["ranks"]) == 2


def test_what_started_them_may_say_stop_again(tmp_path: Path, forks: Any) -> None:
    """torchrun tells the others to end as soon as one has; the first is writing the end then."""
    run = Run.create(tmp_path, "toy", "toy")
    hooks = [{"type": "SignalAt", "iteration": 3, "signum": 15, "rank": rank, "times": 2} for rank in (0, 1)]
    forked = forks.train_together(run, **OPTIONS, hooks=hooks)
    assert codes(forked) == [143, 143], forked[0].output + forked[1].output
    assert told(run)["status"] == "cancelled" and told(run)["checkpoints"]["last"]
