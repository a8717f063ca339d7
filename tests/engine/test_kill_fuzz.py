"""SIGKILL at every step of a save and at random moments: at most one epoch is lost, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "kill-fuzz"


@pytest.mark.slow
def test_every_kill_is_survived() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "json=true"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    outcomes = json.loads(done.stdout)["kills"]
    assert sum(outcome["killed"] for outcome in outcomes) >= 100
    lost = [outcome for outcome in outcomes if not (outcome["same"] and outcome["tidy"])]
    late = [outcome for outcome in outcomes if (outcome["resumed_epoch"] or 0) < 2]
    assert (lost, late, done.returncode) == ([], [], 0)
