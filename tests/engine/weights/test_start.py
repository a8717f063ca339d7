"""Through the command line: a training starts from a file, and goes on without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published import ours, save

from trainer.cli.command_line import main
from trainer.engine.checkpoint.file import load
from trainer.runs.events.reader import events
from trainer.runs.run import Run

ROOT = Path(__file__).parents[3]
SMALL = [
    *("model=rtmdet-tiny", "task=detection", "dataset=digits", "dataset.scenes=8", "dataset.val_scenes=4"),
    *("dataset.scene_size=64", "runtime.batch_size=4", "runtime.workers=0", "runtime.device=cpu"),
    *("debug.max_batches=1", "tracking=none"),
]


def trainer(*words: str, cwd: Path) -> str:
    """Run a command line that ends well; what it said."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_file_is_where_training_starts_and_a_resumed_run_needs_it_no_more(tmp_path):
    names = [f"thing {number}" for number in range(80)]
    names[33] = "7"
    published = ours("rtmdet-tiny", tuple(names)).model
    save(tmp_path / "published.pth", published, dataset_meta={"classes": names})
    # Rates at which an iteration changes nothing that could be seen.
    words = [
        *SMALL,
        "optimizer.lr=1e-12",
        "optimizer.weight_decay=0",
        "scheduler=constant",
        "runtime.ema=true",
    ]
    told = trainer(*words, "runtime.epochs=1", "model.weights=published.pth", cwd=tmp_path)
    assert "weights: published.pth: loaded 394 of 400 tensors; re-initialised 6" in " ".join(told.split())

    run = Run.find(tmp_path / "runs", "latest")
    (report,) = run.facts["weights"]
    assert report["kept"] == ["7"] and report["loaded"] == 394 and len(report["anew"]) == 6
    last, given = load(run.checkpoints / "last.pth"), published.state_dict()
    averaged, trained = last["state_dict"], last["ema_state_dict"]
    for key in ("backbone.stem.0.conv.weight", "neck.out_convs.0.conv.weight"):
        assert torch.allclose(averaged[key], given[key], atol=1e-6), "the average starts from the file"
        assert torch.allclose(trained[f"module.{key}"], given[key], atol=1e-6)
    head = averaged["bbox_head.rtm_cls.0.weight"]
    assert torch.allclose(head[7], given["bbox_head.rtm_cls.0.weight"][33], atol=1e-6)
    assert not torch.allclose(head[6], given["bbox_head.rtm_cls.0.weight"][6], atol=1e-2)

    (tmp_path / "published.pth").unlink()
    trainer("resume=latest", "runtime.epochs=2", cwd=tmp_path)
    log = list(events(run.events))
    assert [event["iter"] for event in log if event["type"] == "resumed"] == [1]
    told = [event["message"] for event in log if event["type"] == "warning" and "weights" in event["message"]]
    assert len(told) == 1, "loaded once in the run's life"


def test_without_a_network_nothing_is_started(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.01)
    url = "http://127.0.0.1:9/rtmdet_tiny-387a891e.pth"
    assert main([*SMALL, f"model.weights={url}"]) == 1
    message = capsys.readouterr().err
    assert f"NetworkError: {url} can't be downloaded" in message and "models fetch" in message
    assert str(tmp_path / "weights" / "rtmdet_tiny-387a891e.pth") in message
    assert not (tmp_path / "runs").exists()


def test_a_word_that_means_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "model.weights=cooco"]) == 2
    assert "Did you mean 'coco'" in capsys.readouterr().err
