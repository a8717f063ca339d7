"""docs/architecture.md and its picture are written from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_picture_and_the_table_are_current() -> None:
    command = [sys.executable, "scripts/architecture", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "current"), "run scripts/architecture"


def test_rooms_and_names_are_in_order() -> None:
    command = [sys.executable, "scripts/architecture", "--figures"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures = {line[:45].strip(): line[45:].strip() for line in done.stdout.splitlines()}
    assert figures["knots of rooms (import cycles)"] == "none"
    assert figures["allowed imports against the order"] == "2"
    assert figures["public classes of one name in several files"].startswith("0")
    assert figures["files over 300 / 500 lines"].endswith("/ 0")
