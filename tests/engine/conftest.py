"""Shared by the engine's tests: the toy training, in this process or in a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a toy network gains nothing from more, and loses much


@pytest.fixture
def run(tmp_path: Path) -> Any:
    from trainer.run import Run

    return Run.create(tmp_path / "runs", "toy", "toy")


@pytest.fixture
def train_apart() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Train the toy in a process of its own: ``train_apart(run, epochs=4, ...)``."""

    def train(run: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(run, **options), capture_output=True, text=True, timeout=120, env=environment()
        )

    return train


def command(run: Any, **options: Any) -> list[str]:
    return [
        sys.executable,
        str(HERE / "toy.py"),
        str(run.dir),
        *(f"{key}={value!r}" for key, value in options.items()),
    ]


def environment() -> dict[str, str]:
    root = str(HERE.parents[1])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
