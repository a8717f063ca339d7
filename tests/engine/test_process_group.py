"""Two processes that train together on CPUs: one run directory, the same weights, one end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_resume import checkpoint, same, told

from trainer.core.errors import ConfigError
from trainer.engine.checkpoint.file import load
from trainer.engine.distributed.join import join
from trainer.engine.distributed.ranks import Ranks
from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

# Two batches of three images an epoch and process would leave no odd number for the accumulation.
OPTIONS: dict[str, Any] = {"epochs": 4, "batch_size": 3, "optimizer": "SGD", "amp": True, "accumulate": 3}


def codes(forked: list[Any]) -> list[int]:
    return [one.wait() for one in forked]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, forks: Any) -> Run:
    run = Run.create(tmp_path_factory.mktemp("whole"), "toy", "whole")
    forked = forks.train_together(run, **OPTIONS)
    assert codes(forked) == [0, 0], forked[0].output + forked[1].output
    return run


def test_one_run_directory(whole: Run) -> None:
    log = list(events(whole.events))
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert sum(event["type"] == "run_started" for event in log) == 1
    assert [event["iter"] for event in log if event["type"] == "epoch"] == [4, 8, 12, 16]
    assert len(load(whole.checkpoints / "last.pth")["ranks"]) == 2
    assert json.loads((whole.dir / "result.json").read_text())["status"] == "finished"
    assert len(whole.facts["attempts"]) == 1


def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, forks: Any, whole: Run) -> None:
    cut = Run.create(tmp_path, "toy", "cut")
    died = forks.train_together(cut, **OPTIONS, hooks=[{"type": "KillAt", "iteration": 10}])
    assert codes(died) == [-9, -9]
    went_on = forks.train_together(cut, **OPTIONS, exp_resume=True)
    assert codes(went_on) == [0, 0], went_on[0].output + went_on[1].output
    same(checkpoint(whole), checkpoint(cut))
    same(told(whole), told(cut))


@pytest.mark.parametrize("rank", [0, 1])
def test_signal_to_one_stops_both_and_going_on_is_exact(
    tmp_path: Path, forks: Any, whole: Run, rank: int
) -> None:
    """The gradients that wait for the next step differ between the processes: each gets its own back."""
    cut = Run.create(tmp_path, "toy", "cut")
    stop = {"type": "SignalAt", "iteration": 5, "signum": 15, "rank": rank}
    stopped = forks.train_together(cut, **OPTIONS, hooks=[stop])
    assert codes(stopped) == [143, 143], stopped[0].output + stopped[1].output
    entry = Manifest(cut.checkpoints).read()["last"]
    assert (entry["epoch"], entry["iter"], entry["batch"]) == (1, 7, 3)  # agreed on one iteration later
    states = load(cut.checkpoints / "last.pth")["ranks"]
    assert states[0]["gradients"].keys() == states[1]["gradients"].keys() != set()
    assert json.loads((cut.dir / "result.json").read_text())["status"] == "cancelled"
    went_on = forks.train_together(cut, **OPTIONS, exp_resume=True)
    assert codes(went_on) == [0, 0], went_on[0].output + went_on[1].output
    same(checkpoint(whole), checkpoint(cut))
    same(told(whole), told(cut))


def test_failure_of_one_is_told_by_the_first(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    # The second process alone gets to see this image first; the validation sees none of it.
    forked = forks.train_together(
        run, epochs=2, batch_size=3, hooks=[{"type": "FailAt", "iteration": 3, "rank": 1}]
    )
    assert codes(forked) == [1, 1], forked[0].output
    result = json.loads((run.dir / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"] == {
        "type": "DatasetError",
        "message": "process 1: a file is missing: /data/missing.jpg",
    }


def test_death_of_one_ends_the_other(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    forked = forks.train_together(
        run, epochs=2, batch_size=3, hooks=[{"type": "KillAt", "iteration": 3, "rank": 1}]
    )
    assert codes(forked) == [1, -9]
    error = json.loads((run.dir / "result.json").read_text())["error"]
    assert error["type"] == "ResourceError"
    assert error["message"].startswith(f"process 1 (pid {forked[1].pid} on ")


def test_other_number_of_processes_goes_on(tmp_path: Path, forks: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    stop = {"type": "SignalAt", "iteration": 5}
    assert codes(forks.train_together(run, **OPTIONS, hooks=[stop])) == [130, 130]
    alone = forks.train(run, **{**OPTIONS, "batch_size": 6}, exp_resume=True)
    assert alone.wait() == 0, alone.output
    warnings = [event["message"] for event in events(run.events) if event["type"] == "warning"]
    assert "saved by 2 processes, gone on with by 1: random states start anew" in warnings


def test_alone_there_is_nothing_to_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import toy_experiment

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = join(toy_experiment())
    assert type(ranks) is Ranks and ranks.first and ranks.size == 1
    assert (
        ranks.from_first(lambda: 3) == ranks.after_first(lambda: 3) == ranks.most(3) == ranks.most_lately(3)
    )


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import toy_experiment

    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="not RANK, MASTER_ADDR, MASTER_PORT; torchrun"):
        join(toy_experiment())
