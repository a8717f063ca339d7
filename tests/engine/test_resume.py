"""Going on: bit for bit as if nothing had happened, from a file that is known to be whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_experiment, toy_fit

from trainer.core.errors import CheckpointError
from trainer.engine.checkpoint.file import load
from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

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
    content["meta"].pop("events")
    for key in ("run_id", "config"):
        content["meta"]["trainer"].pop(key)
    for key in ("experiment_name", "eta"):
        content["message_hub"]["runtime_info"].pop(key, None)
    return content


def told(run: Run) -> dict[tuple[str, int], Any]:
    """Losses and metrics by iteration, as the last attempt that got there told them."""
    log = {(event["type"], event.get("iter")): event for event in events(run.events)}
    return {
        key: (event.get("losses"), event.get("metrics"), event["epoch"])
        for key, event in log.items()
        if key[0] in ("train", "epoch", "validation")
    }


MID_EPOCH = 10  # of four iterations an epoch: after the second validation and two more

CASES: dict[str, dict[str, Any]] = {
    "AdamW, EMA": {},
    "SGD, accumulation over epochs' ends": {"optimizer": "SGD", "accumulate": 3, "ema": False},
    "AdamW, bf16, accumulation": {"amp": True, "accumulate": 3},
    "SGD, workers": {"optimizer": "SGD", "workers": 2},
    "workers that stay": {"workers": 2, "persistent": True},
    "MixUp from caches, workers that stay": {"data": {"cached": True}, "workers": 2, "persistent": True},
    "iterations counted": {"by_iter": True, "accumulate": 3},
    "iterations counted, finite order, workers": {"by_iter": True, "sampler": "DefaultSampler", "workers": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, forks: Any, case: str) -> None:
    options = {"epochs": 4, **CASES[case]}
    whole, cut = (Run.create(tmp_path, "toy", name) for name in ("whole", "cut"))
    undisturbed = forks.start(whole, **options)
    assert forks.train(cut, **options, hooks=[{"type": "KillAt", "iteration": MID_EPOCH}]).wait() == -9
    assert undisturbed.wait() == 0, undisturbed.output
    went_on = forks.train(cut, **options, exp_resume=True)
    assert went_on.wait() == 0, went_on.output
    same(checkpoint(whole), checkpoint(cut))
    same(checkpoint(whole, "best"), checkpoint(cut, "best"))
    same(told(whole), told(cut))
    log = list(events(cut.events))
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert next(event["iter"] for event in log if event["type"] == "resumed") in (4, 8)
    assert [attempt["status"] for attempt in cut.facts["attempts"]] == ["killed", "finished"]
    results = [json.loads((run.dir / "result.json").read_text()) for run in (whole, cut)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["epochs_completed"] == 4


@pytest.mark.parametrize(
    "options", [{"accumulate": 3}, {"workers": 2, "persistent": True}, {"by_iter": True}], ids=str
)
def test_stopped_within_an_epoch_goes_on_exactly(tmp_path: Path, forks: Any, options: dict[str, Any]) -> None:
    whole, cut = (Run.create(tmp_path, "toy", name) for name in ("whole", "cut"))
    undisturbed = forks.start(whole, epochs=3, **options)
    stop = {"type": "SignalAt", "iteration": 5}
    assert forks.train(cut, epochs=3, **options, hooks=[stop]).wait() == 130
    last = Manifest(cut.checkpoints).read()["last"]
    assert (last["iter"], last.get("batch")) == (6, None if "by_iter" in options else 2)
    went_on = forks.train(cut, epochs=3, **options, exp_resume=True)
    assert went_on.wait() == undisturbed.wait() == 0, went_on.output
    same(checkpoint(whole), checkpoint(cut))
    same(told(whole), told(cut))


def test_augmentation_hangs_on_no_worker(tmp_path: Path, forks: Any) -> None:
    """One worker or three, or none, and other batches before: the same weights."""
    runs = [Run.create(tmp_path, "toy", f"w{count}") for count in (0, 1, 3)]
    begun = [forks.start(run, epochs=2, workers=count) for count, run in zip((0, 1, 3), runs, strict=True)]
    assert [one.wait() for one in begun] == [0, 0, 0]
    for run in runs[1:]:
        same(checkpoint(runs[0])["state_dict"], checkpoint(run)["state_dict"])


def test_iterations_are_skipped_without_loading(run: Run) -> None:
    """Going on at iteration 10 loads the six batches that are left, not sixteen."""
    toy_fit(run, epochs=4, by_iter=True, hooks=[{"type": "SignalAt", "iteration": 9}])
    assert Manifest(run.checkpoints).read()["last"]["iter"] == 10
    import toy

    loaded: list[int] = []
    stock = toy.ToyData.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            toy.ToyData, "__getitem__", lambda self, index: loaded.append(index) or stock(self, index)
        )
        toy_fit(run, toy_experiment(resume=True), epochs=4, by_iter=True)
    validations = 2 * 24
    assert len(loaded) == 6 * 6 + validations
    trained = [event["iter"] for event in events(run.events) if event["type"] == "train"]
    assert trained == [2, 4, 6, 8, 10, 12, 14, 16]


def test_checkpoint_of_another_model_is_refused(run: Run) -> None:
    toy_fit(run, epochs=1)
    with pytest.raises(CheckpointError, match=r"last.pth is of another model: .*net.5.weight"):
        toy_fit(run, toy_experiment(resume=True), epochs=2, model={"outputs": 3})


def test_first_format_goes_on(run: Run) -> None:
    """What this trainer wrote before checkpoints had the states of several processes in them."""
    toy_fit(run, epochs=2, scores=[0.3, 0.4])
    file = Manifest(run.checkpoints).file("last")
    old = load(file)
    del old["format"], old["meta"]["events"], old["progress"]["batches"]
    old["rng"] = old.pop("ranks")[0]["rng"]
    hub = old["message_hub"]["log_scalars"]
    old["message_hub"]["log_scalars"] = {key: [part.tolist() for part in pair] for key, pair in hub.items()}
    with Manifest(run.checkpoints).replacing("last", {"epoch": 2, "iter": 8, "value": 0.4}) as out:
        torch.save(old, out)
    result = toy_fit(run, toy_experiment(resume=True), epochs=3, scores=[0.6])
    assert (result["status"], result["epochs_completed"]) == ("finished", 3)
    assert result["primary_metric"]["value"] == 0.6


def test_later_format_is_refused(run: Run) -> None:
    toy_fit(run, epochs=1)
    content = load(Manifest(run.checkpoints).file("last"))
    with Manifest(run.checkpoints).replacing("last", {"epoch": 1, "iter": 4, "value": None}) as out:
        torch.save({**content, "format": 99}, out)
    with pytest.raises(CheckpointError, match="format 99"):
        toy_fit(run, toy_experiment(resume=True), epochs=2)


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
    run.start_attempt()  # and was killed
    result = toy_fit(run, toy_experiment(resume=True), epochs=1)
    assert result["status"] == "finished"
    assert "from the beginning" in next(e["message"] for e in events(run.events) if e["type"] == "warning")


def test_a_new_run_that_may_go_on_is_no_warning(run: Run) -> None:
    assert toy_fit(run, toy_experiment(resume="auto"), epochs=1)["status"] == "finished"
    assert not [event for event in events(run.events) if event["type"] == "warning"]


def test_pending_validation_is_caught_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between an epoch and its validation: the validation comes first on the way on."""
    import trainer.engine.hooks.checkpoints as hook

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
