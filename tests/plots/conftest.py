from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_up import append, epoch_of, started, write_curves

from trainer.runs.run import Run


@pytest.fixture
def made_up(tmp_path):
    """Makes a run directory with an event log and curves: ``made_up(classes=80)``."""

    def make(classes: int = 3, epochs: int = 3) -> Run:
        run = Run.create(tmp_path / "runs", "digits-detection", "rtmdet-s")
        names = [f"a class with a long name, number {i}" for i in range(classes)]
        append(run, [started(epochs), *(e for epoch in range(1, epochs + 1) for e in epoch_of(epoch, names))])
        write_curves(run, names, epochs)
        return run

    return make
