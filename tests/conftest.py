"""Shared by all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.core.locks import locked

EXPERIMENTS = {
    "detection": "digits",
    "instance_segmentation": "digits_instance",
    "semantic_segmentation": "digits_semantic",
    "pose": "digits_pose",
}
# Enough for metrics that aren't 0; detectors learn where the others already answer.
EPOCHS = {"detection": 8, "instance_segmentation": 16, "semantic_segmentation": 2, "pose": 2}
# Few scenes, and small batches for many steps; the average of so short a run would still be its first weights.
SHORT = (
    "dataset.scenes=16 dataset.val_scenes=8 runtime.batch_size=2 runtime.val_interval=4 "
    "runtime.ema=false runtime.workers=0"
)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``trained_run(task)``: the directory of a finished run, trained once a session in a process of its own.

    Tests that run side by side (pytest-xdist) share it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def train(task: str) -> Path:
        output = folder / f"trained-{task}"
        with locked(folder / f"trained-{task}.lock", wait=3600):
            if not (output / "done").exists():
                words = [f"experiment={EXPERIMENTS[task]}", f"runtime.epochs={EPOCHS[task]}", *SHORT.split()]
                words += ["runtime.device=cpu", "tracking=none", f"output_dir={output}"]
                root = str(Path(__file__).parents[1])
                subprocess.run(
                    [sys.executable, "-m", "trainer", *words],
                    check=True,
                    timeout=600,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": root},
                )
                (output / "done").touch()
        return (output / "latest").resolve()

    return train
