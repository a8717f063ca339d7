"""scripts/bench/data measures what it says, on a file of a few images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_file(tmp_path: Path) -> None:
    words = ["--images", "30", "--boxes", "200", "--folder", str(tmp_path), "--cases", "prepare", "index"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench" / "data"), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| prepare", "| index"))]
    assert len(rows) == 2 and all(float(cell) >= 0 for row in rows for cell in row.split("|")[2:-1])
    assert "prepare / index: time" in done.stdout
    made = orjson.loads((tmp_path / "set" / "annotations" / "train.json").read_bytes())
    assert len(made["images"]) == 30 and len(made["annotations"]) == 200
    (bundle,) = (tmp_path / "cache" / "prepared").glob("*/bundle.json")
    splits = orjson.loads(bundle.read_bytes())["splits"]
    assert sum(split["num_annotations"] for split in splits.values()) == 200
