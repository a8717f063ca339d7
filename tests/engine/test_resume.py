"""Going on: bit for bit as if nothing had happened, from a file that is known to be whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from toy import toy_experiment, toy_fit

from trainer.engine.checkpoint_file import load
from trainer.engine.manifest import Manifest
from trainer.errors import CheckpointError
from trainer.events.reader import events
from trainer.run import Run

TIMES = ("train/time", "train/data_time", "val/time", "val/data_time")


def same(one: Any, other: Any, path: str = "") -> None:
    """Equal to the last bit, named where not."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            if key not in TIMES and key != "eta":
                same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{path}/{index}")
    else:
        assert one == other, path


def checkpoint(run: Run, name: str = "last") -> dict[str, Any]:
    content = load(run.checkpoints / f"{name}.pth")
    content["meta"]["trainer"].pop("run_id")
    content["message_hub"]["runtime_info"].pop("experiment_name", None)
    for key in ("eta",):
        content["message_hub"]["runtime_info"].pop(key, None)
    content["meta"]["trainer"].pop("config")
    return content


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_undisturbed(tmp_path: Any, train_apart: Any, workers: int) -> None:
    whole, cut = (Run.create(tmp_path, "toy", name) for name in ("whole", "cut"))
    assert train_apart(whole, epochs=4, workers=workers).returncode == 0
    died = train_apart(cut, epochs=4, workers=workers, hooks=[{"type": "DieBeforeEpoch", "epoch": 2}])
    assert died.returncode == 9
    assert Manifest(cut.checkpoints).read()["last"]["epoch"] == 2
    went_on = train_apart(cut, epochs=4, workers=workers, exp_resume=True)
    assert went_on.returncode == 0, went_on.stderr
    same(checkpoint(whole), checkpoint(cut))
    same(checkpoint(whole, "best"), checkpoint(cut, "best"))
    log = list(events(cut.events))
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert [event["epoch"] for event in log if event["type"] == "resumed"] == [2]
    kinds = [attempt["status"] for attempt in cut.facts["attempts"]]
    assert kinds == ["killed", "finished"]
    results = [json.loads((run.dir / "result.json").read_text()) for run in (whole, cut)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["epochs_completed"] == 4


def test_iteration_loop_resumes_order_and_state(tmp_path: Any, train_apart: Any) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    stop = {"type": "SignalAt", "iteration": 9}
    assert train_apart(run, by_iter=True, hooks=[stop]).returncode == 130
    assert Manifest(run.checkpoints).read()["last"]["iter"] == 10
    went_on = train_apart(run, by_iter=True, exp_resume=True)
    assert went_on.returncode == 0, went_on.stderr
    assert checkpoint(run)["meta"]["iter"] == 16
    trained = [event["iter"] for event in events(run.events) if event["type"] == "train"]
    assert trained == [2, 4, 6, 8, 10, 12, 14, 16]


def test_damaged_last_falls_back_to_best(run: Run) -> None:
    toy_fit(run, epochs=2, scores=[0.9, 0.1])
    with (run.checkpoints / "last.pth").open("r+b") as file:
        file.seek(1000)
        file.write(b"rubbish")
    # best was written in epoch 1 and is a file of its own since last moved on in epoch 2
    result = toy_fit(run, toy_experiment(resume=True), epochs=3, scores=[0.2, 0.3])
    log = list(events(run.events))
    warning = next(event["message"] for event in log if event["type"] == "warning")
    assert "last.pth doesn't match its checksum" in warning and "best.pth of epoch 1" in warning
    assert [event["path"] for event in log if event["type"] == "resumed"] == ["checkpoints/best.pth"]
    assert result["primary_metric"] == {"name": "score", "value": 0.9, "mode": "max", "epoch": 1}
    assert result["epochs_completed"] == 3


def test_no_whole_checkpoint_is_an_error(run: Run) -> None:
    toy_fit(run, epochs=1)
    for name in ("last", "best"):
        (run.checkpoints / f"{name}.pth").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"last.pth doesn't match.*best.pth doesn't match"):
        toy_fit(run, toy_experiment(resume=True), epochs=2)
    assert json.loads((run.dir / "result.json").read_text())["error"]["type"] == "CheckpointError"


def test_nothing_saved_yet_starts_over(run: Run) -> None:
    result = toy_fit(run, toy_experiment(resume=True), epochs=1)
    assert result["status"] == "finished"
    assert "from the beginning" in next(e["message"] for e in events(run.events) if e["type"] == "warning")


def test_pending_validation_is_caught_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between an epoch and its validation: the validation comes first on the way on."""
    import trainer.engine.checkpoint_hook as hook

    monkeypatch.setattr(hook, "UNSECURED_SECONDS", -1.0)
    stop = [{"type": "SignalAt", "iteration": 8, "val": True}]
    cancelled = toy_fit(run, epochs=3, hooks=stop)
    assert cancelled["status"] == "cancelled" and cancelled["epochs_completed"] == 2
    assert Manifest(run.checkpoints).read()["last"]["pending_validation"] is True
    toy_fit(run, toy_experiment(resume=True), epochs=3)
    validated = [event["epoch"] for event in events(run.events) if event["type"] == "validation"]
    assert validated == [1, 2, 3]


def test_early_stopping_counts_on(run: Run) -> None:
    early = {
        "type": "EarlyStoppingHook",
        "monitor": "score",
        "patience": 2,
        "min_delta": 0.0,
        "rule": "greater",
    }
    stop = {"type": "SignalAt", "iteration": 9}
    toy_fit(run, epochs=9, scores=[0.5, 0.4], hooks=[early, stop])
    result = toy_fit(run, toy_experiment(resume=True), epochs=9, scores=[0.3, 0.2], hooks=[early])
    assert result["status"] == "finished"
    assert result["epochs_completed"] == 3  # 0.4 and 0.3 were no improvement on 0.5
