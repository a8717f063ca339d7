"""Ctrl-C and SIGTERM, in a real process and at awkward moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from conftest import command, environment
from toy import toy_experiment, toy_fit

from trainer.engine.checkpoint_file import load
from trainer.engine.manifest import Manifest
from trainer.events.reader import events
from trainer.run import Run

SLOW = {"slow": 0.05}


def kinds(run: Run) -> list[str]:
    return [event["type"] for event in events(run.events)]


def wait_for(run: Run, kind: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while kind not in kinds(run):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(("signum", "code", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 0)])
def test_signal_saves_and_says_how_to_go_on(tmp_path: Path, signum: int, code: int, workers: int) -> None:
    run = Run.create(tmp_path, "toy", "toy")
    line = command(run, epochs=50, workers=workers, data=SLOW)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, stdout=pipe, stderr=pipe, text=True, env=environment(), start_new_session=True
    ) as process:
        wait_for(run, "train", process)
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as a terminal does: the workers get it too
        else:
            process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert "resume with: " in out and f"python -m trainer resume={run.dir}" in out
    assert kinds(run)[-1] == "cancelled"
    result = json.loads((run.dir / "result.json").read_text())
    assert result["status"] == "cancelled" and result["checkpoints"]["last"] == "checkpoints/last.pth"
    assert run.facts["attempts"][-1]["status"] == "cancelled"
    assert load(run.checkpoints / "last.pth")["state_dict"]


def test_interrupted_epoch_starts_again(run: Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = toy_fit(run, epochs=3, hooks=[{"type": "SignalAt", "iteration": 5}])
    assert (result["status"], result.exit_code) == ("cancelled", 130)
    assert signal.getsignal(signal.SIGINT) is before
    entry = Manifest(run.checkpoints).read()["last"]
    assert (entry["epoch"], entry["iter"], entry["restarts_epoch"]) == (1, 4, 2)
    kept = load(run.checkpoints / "last.pth")
    # The weights went on, the schedule did not: going on, it is as at the epoch's start.
    assert kept["param_schedulers"][0]["last_step"] == 4
    assert next(iter(kept["optimizer"]["state"].values()))["step"] == 6
    went_on = toy_fit(run, toy_experiment(resume=True), epochs=3)
    assert went_on["status"] == "finished" and went_on["epochs_completed"] == 3
    iterations = [event["iter"] for event in events(run.events) if event["type"] == "train"]
    assert iterations == [2, 4, 6, 6, 8, 10, 12]


def test_stop_in_validation_keeps_the_trained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During validation the averaged weights are in the model: they must not pass for the trained ones."""
    import trainer.engine.checkpoint_hook as hook

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
    assert torch.equal(secured["rng"]["torch"], stopped["rng"]["torch"])
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
