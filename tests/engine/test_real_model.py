"""RTMDet-tiny through the command line: train, stop, go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_resume import checkpoint, same

from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

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
    from trainer.engine.checkpoint.file import load

    last = load(manifest.file("last"))
    assert last["ema_state_dict"] and last["meta"]["trainer"]["model"] == "rtmdet-tiny"


COMMON = [
    "dataset=digits", "dataset.scenes=16", "dataset.val_scenes=4", "dataset.scene_size=64", "runtime.batch_size=4",
    "runtime.workers=1", "tracking=none", "tracking.plots=false", "tracking.samples_every=0",
    "scheduler.warmup_iters=2",
]  # fmt: skip
MODELS = {
    # Mosaic and MixUp from caches, EMA, AdamW
    "rtmdet-tiny": ["task=detection", "model=rtmdet-tiny", "runtime.epochs=3", "runtime.ema=true",
                    "debug.max_batches=2", "augmentation=mosaic_mixup", "dataset.image_size=64"],
    # counts iterations, endless order
    "segformer-b0": ["task=semantic_segmentation", "model=segformer-b0", "dataset.image_size=64",
                     "mm.train_cfg.max_iters=6", "mm.train_cfg.val_interval=2"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, forks: Any, model: str) -> None:
    forks.load("mmdet.models", "mmdet.datasets", "mmseg.models", "mmseg.datasets")
    words = [*COMMON, *MODELS[model]]
    whole = forks.trainer(tmp_path, *words, "output_dir=whole")
    assert whole.wait() == 0, whole.output
    cut = forks.trainer(tmp_path, *words, "output_dir=cut")
    until = time.monotonic() + 120
    while not (saved := list(tmp_path.glob("cut/*/*/checkpoints/last.pth"))):
        assert cut.poll() is None and time.monotonic() < until, cut.output
        time.sleep(0.02)
    os.killpg(cut.pid, signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL, "it ended before it could be killed"
    went_on = forks.trainer(tmp_path, "output_dir=cut", f"resume={saved[0].parents[1]}")
    assert went_on.wait() == 0, went_on.output
    runs = [Run.find(tmp_path / name, "latest") for name in ("whole", "cut")]
    assert [event["type"] for event in events(runs[1].events)].count("resumed") == 1
    same(checkpoint(runs[0])["state_dict"], checkpoint(runs[1])["state_dict"])
    same(checkpoint(runs[0])["optimizer"], checkpoint(runs[1])["optimizer"])
