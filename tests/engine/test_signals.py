"""Ctrl-C and SIGTERM, in a real process and at awkward moments."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_experiment, toy_fit

from trainer.engine.checkpoint.file import load
from trainer.engine.stop_signals import PRUNE
from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

SLOW = {"slow": 0.05}


def kinds(run: Run) -> list[str]:
    return [event["type"] for event in events(run.events)] if run.events.exists() else []


def wait_for(run: Run, kind: str, process: Any) -> None:
    until = time.monotonic() + 60
    while kind not in kinds(run):
        assert process.poll() is None, process.output
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(("signum", "code", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 0)])
def test_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, forks: Any, signum: int, code: int, workers: int
) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    process = forks.start(run, epochs=50, workers=workers, data=SLOW)
    wait_for(run, "train", process)
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)  # as a terminal does: the workers get it too
    else:
        os.kill(process.pid, signum)
    assert process.wait() == code, process.output
    assert "Traceback" not in process.output
    assert "resume with: " in process.output and f"python -m trainer resume={run.dir}" in process.output
    assert kinds(run)[-1] == "cancelled"
    result = json.loads((run.dir / "result.json").read_text())
    assert result["status"] == "cancelled" and result["checkpoints"]["last"] == "checkpoints/last.pth"
    assert run.facts["attempts"][-1]["status"] == "cancelled"
    assert load(run.checkpoints / "last.pth")["state_dict"]


def test_interrupted_epoch_goes_on_where_it_was(run: Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 5}])
    assert (result["status"], result.exit_code) == ("cancelled", 130)
    assert signal.getsignal(signal.SIGINT) is before
    entry = Manifest(run.checkpoints).read()["last"]
    assert (entry["epoch"], entry["iter"], entry["batch"]) == (1, 6, 2)
    kept = load(run.checkpoints / "last.pth")
    assert next(iter(kept["optimizer"]["state"].values()))["step"] == 6
    went_on = toy_fit(run, toy_experiment(resume=True), epochs=3)
    assert went_on["status"] == "finished" and went_on["epochs_completed"] == 3
    iterations = [event["iter"] for event in events(run.events) if event["type"] == "train"]
    assert iterations == [2, 4, 6, 8, 10, 12]


def test_a_pruned_trial_saves_and_says_so(run: Run) -> None:
    result = toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 5, "signum": int(PRUNE or 0)}])
    assert (result["status"], result.exit_code) == ("pruned", 0)
    assert run.facts["attempts"][-1]["status"] == kinds(run)[-1] == "pruned"
    assert Manifest(run.checkpoints).read()["last"]["iter"] == 6
    log = list(events(run.events))
    assert [event["batch_size"] for event in log if event["type"] == "run_started"] == [6]
    latencies = [event["latency"] for event in log if event["type"] == "validation"]
    assert latencies and all(0 < latency < 60_000 for latency in latencies)


def test_epochs_of_another_length_go_on_in_proportion(run: Run) -> None:
    toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 5}])
    result = toy_fit(run, toy_experiment(resume=True), epochs=3, batch_size=3)
    assert result["status"] == "finished" and result["epochs_completed"] == 3
    log = list(events(run.events))
    assert "8 batches by now, not 4" in next(e["message"] for e in log if e["type"] == "warning")
    resumed = next(event for event in log if event["type"] == "resumed")
    assert (resumed["epoch"], resumed["iter"]) == (1, 12)  # half of the second epoch's eight
    assert [event["iter"] for event in log if event["type"] == "epoch"] == [4, 16, 24]


def test_time_budget_saves_and_finishes(run: Run) -> None:
    exp = toy_experiment(runtime__max_minutes=0.5 / 60)
    result = toy_fit(run, exp, epochs=400, data={"slow": 0.002})
    assert (result["status"], result.exit_code) == ("finished", 0)
    log = list(events(run.events))
    assert log[-1]["type"] == "finished"
    warning = next(event["message"] for event in log if event["type"] == "warning")
    assert warning.startswith("runtime.max_minutes=0.00833333 are over: saved") and "resume=" in warning
    done = Manifest(run.checkpoints).read()["last"]["iter"]
    assert 0 < done < 1600
    again = toy_fit(run, toy_experiment(resume=True, **{"runtime__max_minutes": 0.5 / 60}), epochs=400)
    assert again["status"] == "finished"
    assert Manifest(run.checkpoints).read()["last"]["iter"] > done


def test_time_budget_that_is_not_used_up_says_nothing(run: Run) -> None:
    result = toy_fit(run, toy_experiment(runtime__max_minutes=60.0), epochs=1)
    assert result["epochs_completed"] == 1 and "warning" not in kinds(run)


def test_stop_in_validation_keeps_the_trained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During validation the averaged weights are in the model: they must not pass for the trained ones."""
    import trainer.engine.hooks.checkpoints as hook

    found = []
    for name in ("secured", "stopped"):
        # Secured before the validation, or saved in the middle of it: the same seed must give the same file.
        monkeypatch.setattr(hook, "UNSECURED_SECONDS", -1.0 if name == "secured" else 1e9)
        run = Run.create(tmp_path, "toy", name)
        toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 4, "val": True}])
        found.append(load(run.checkpoints / "last.pth"))
    secured, stopped = found
    assert stopped["progress"]["pending_validation"] and secured["progress"]["pending_validation"]
    for part in ("state_dict", "ema_state_dict"):
        for key, value in secured[part].items():
            assert torch.equal(value, stopped[part][key]), f"{part}/{key}"
    assert torch.equal(secured["ranks"][0]["rng"]["torch"], stopped["ranks"][0]["rng"]["torch"])
    assert not torch.equal(
        stopped["state_dict"]["net.0.weight"], stopped["ema_state_dict"]["module.net.0.weight"]
    )


def test_second_signal_stops_at_once(run: Run) -> None:
    result = toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 6, "times": 2}])
    assert (result["status"], result.exit_code) == ("cancelled", 130)
    assert (
        Manifest(run.checkpoints).read()["last"]["epoch"] == 1
    )  # the epoch's own save, none after the signal
    assert result["checkpoints"]["last"] == "checkpoints/last.pth"


def test_signal_before_training_saves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine.runner import TrainRunner

    monkeypatch.setattr(
        TrainRunner, "train", lambda self: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5)
    )
    result = toy_fit(run)
    assert (result["status"], result.exit_code) == ("cancelled", 143)
    assert result["checkpoints"] == {"best": None, "last": None}
