"""Shared by the engine's tests: the toy training, in this process or in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a toy network gains nothing from more, and loses much


@pytest.fixture
def run(tmp_path: Path) -> Any:
    from trainer.runs.run import Run

    return Run.create(tmp_path / "runs", "toy", "toy")


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Trainings in processes of their own: ``forks.train(run, epochs=4, ...)``."""
    from forks import Nursery

    nursery = Nursery(tmp_path_factory.mktemp("forks"))
    yield nursery
    nursery.close()
