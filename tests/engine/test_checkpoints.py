"""What is in a checkpoint, and that a kill never leaves less than one whole file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import CLASSES, toy_fit

from trainer.engine.checkpoint_file import load, plain
from trainer.engine.manifest import Manifest
from trainer.errors import CheckpointError
from trainer.run import Run


def test_best_holds_averaged_weights(run: Run) -> None:
    toy_fit(run, epochs=2, scores=[0.1, 0.2])
    best = load(run.checkpoints / "best.pth")
    trained = best["ema_state_dict"]  # EMAHook puts the trained weights here and the averaged in state_dict
    averaged = best["state_dict"]
    assert not torch.equal(averaged["net.0.weight"], trained["module.net.0.weight"])
    # The hand-made average of the recorded steps: with momentum 0.1 it lags behind the trained weights.
    result_weights = [averaged["net.5.weight"], trained["module.net.5.weight"]]
    start = load(_untrained(run))["state_dict"]["net.5.weight"]
    moved = [(weights - start).norm() for weights in result_weights]
    assert 0 < moved[0] < moved[1]


def _untrained(run: Run) -> Path:
    from toy import ToyModel

    torch.manual_seed(3)
    path = run.dir / "untrained.pth"
    torch.save({"state_dict": ToyModel().state_dict()}, path)
    return path


def test_contents(run: Run) -> None:
    toy_fit(run, epochs=2, scores=[0.5, 0.4])
    manifest = Manifest(run.checkpoints)
    last, best = load(manifest.file("last")), load(manifest.file("best"))
    assert (last["meta"]["epoch"], last["meta"]["iter"], best["meta"]["epoch"]) == (2, 8, 1)
    assert tuple(last["meta"]["dataset_meta"]["classes"]) == CLASSES
    about = last["meta"]["trainer"]
    assert (about["task"], about["model"], about["run_id"]) == ("detection", "toy", run.id)
    assert about["fingerprint"] == "f" * 64
    assert about["config"] == (run.dir / "mmengine.py").read_text()
    space: dict[str, Any] = {}
    exec(about["config"], space)
    assert (
        space["train_cfg"]["max_epochs"] == 2
        and space["default_hooks"]["checkpoint"]["type"] == "CheckpointHook"
    )
    assert {
        "state_dict",
        "optimizer",
        "param_schedulers",
        "message_hub",
        "rng",
        "ema_state_dict",
    } <= last.keys()
    entries = manifest.read()
    assert entries["best"]["value"] == 0.5 and entries["last"]["value"] == 0.4
    assert entries["last"]["size"] == manifest.file("last").stat().st_size
    assert manifest.entry("last") == entries["last"]
    left = sorted(path.name for path in run.checkpoints.iterdir())
    assert left == ["best.pth", "last.pth", "manifest.json"]


def test_stock_mmengine_loads_the_weights(run: Run) -> None:
    toy_fit(run, epochs=1)
    from mmengine.runner import load_checkpoint
    from toy import ToyModel

    model = ToyModel()
    load_checkpoint(model, str(run.checkpoints / "best.pth"), strict=True)
    expected = load(run.checkpoints / "best.pth")["state_dict"]
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_rule_less(run: Run) -> None:
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "score", "rule": "less"}}
    toy_fit(run, epochs=3, scores=[0.5, 0.2, 0.3], default_hooks=hooks)
    assert Manifest(run.checkpoints).read()["best"]["value"] == 0.2


def test_interval_skips_saves(run: Run) -> None:
    from trainer.events.reader import events

    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 3, "save_best": "score", "rule": "greater"}}
    toy_fit(run, epochs=5, scores=[0.9, 0.1, 0.2, 0.3, 0.4], default_hooks=hooks)
    saved = [(e["kind"], e["epoch"]) for e in events(run.events) if e["type"] == "checkpoint"]
    assert saved == [("last", 1), ("best", 1), ("last", 3), ("last", 5)]


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="tensors and plain values only"):
        load(tmp_path / "evil.pth")
    from mmengine.runner import CheckpointLoader

    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "pwned").exists()


def test_plain_keeps_data_and_drops_the_rest() -> None:
    import numpy as np

    value = {"a": np.float32(1.5), "b": np.arange(2), "c": (1, {2: print}), "d": len, 0: [None, np.str_("x")]}
    assert plain(value) == {"a": 1.5, "b": [0, 1], "c": (1, {}), 0: [None, "x"]}
    assert type(plain(value)["a"]) is float and type(plain(value)[0][1]) is str


# The steps of a save at which the process is killed, by what is called then.
KILL_POINTS = {
    "while the file is written": ("trainer.engine.manifest._HashingFile.write", 3),
    "before the manifest announces it": ("trainer.engine.manifest.Manifest._announce", 1),
    "before the rename": ("os.replace", 2),
    "after the rename": ("trainer.engine.manifest.Manifest._settle", 1),
    "before the manifest is settled": ("os.replace", 3),
    "before best gets its name": ("os.replace", 5),
    "before best is settled": ("trainer.engine.manifest.Manifest._settle", 2),
}

KILLED_SAVE = """
import os, sys, signal, torch
from pkgutil import resolve_name
from trainer.engine.manifest import Manifest
import trainer.storage

manifest = Manifest(sys.argv[1])

def save(epoch):
    content = {"epoch": epoch, "weights": torch.full((1000,), float(epoch))}
    with manifest.replacing("last", {"epoch": epoch, "value": epoch}) as file:
        torch.save(content, file)
    manifest.copy("last", "best")

save(1)
owner, _, name = sys.argv[2].rpartition(".")
owner, calls = resolve_name(owner), 0
stock = getattr(owner, name)

def dying(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return stock(*args, **kwargs)

setattr(owner, name, dying)
save(2)
"""


@pytest.mark.parametrize("point", KILL_POINTS)
def test_kill_during_save_leaves_whole_checkpoints(tmp_path: Path, point: str) -> None:
    target, call = KILL_POINTS[point]
    root = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SAVE, str(tmp_path), target, str(call)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    manifest = Manifest(tmp_path)
    for name in ("last", "best"):
        entry = manifest.entry(name)
        assert entry is not None, f"{name} is lost"
        content = load(manifest.file(name))
        assert content["epoch"] == entry["epoch"] and float(content["weights"][0]) == entry["epoch"]
    assert manifest.newest_valid()[2] == []
    manifest.clean()
    assert not list(tmp_path.glob(".*.tmp"))


def test_copy_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: Any) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    manifest = Manifest(tmp_path)
    with manifest.replacing("last", {"epoch": 1}) as file:
        file.write(b"content")
    manifest.copy("last", "best")
    assert manifest.entry("best") is not None
    assert json.loads(manifest.path.read_text())["best"]["file"] == "best.pth"
