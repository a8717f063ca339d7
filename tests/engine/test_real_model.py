"""RTMDet-tiny through the command line: train, stop, go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.engine.manifest import Manifest
from trainer.events.reader import events
from trainer.run import Run

ROOT = Path(__file__).parents[2]


def trainer(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "trainer", *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=env, timeout=600)


@pytest.mark.slow
def test_rtmdet_trains_and_goes_on(tmp_path: Path) -> None:
    words = [
        "model=rtmdet-tiny", "task=detection", "dataset=digits", "dataset.scenes=16", "dataset.val_scenes=4",
        "dataset.scene_size=64", "runtime.batch_size=4", "runtime.workers=0", "runtime.ema=true",
        "debug.max_batches=2", "tracking=none",
        "scheduler.warmup_iters=2",
    ]  # fmt: skip
    first = trainer(*words, "runtime.epochs=1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    run = Run.find(tmp_path / "runs", "latest")
    second = trainer(*words, "runtime.epochs=2", f"resume={run.id}", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    log = list(events(run.events))
    assert [event["epoch"] for event in log if event["type"] == "validation"] == [1, 2]
    assert [event["iter"] for event in log if event["type"] == "resumed"] == [2]
    manifest = Manifest(run.checkpoints)
    assert manifest.entry("last") is not None and manifest.entry("best") is not None
    from trainer.engine.checkpoint_file import load

    last = load(manifest.file("last"))
    assert last["ema_state_dict"] and last["meta"]["trainer"]["model"] == "rtmdet-tiny"
