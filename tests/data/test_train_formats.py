"""Every format, converted and trained on for a step: one process for all, so that the packages are imported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.folders import CASES, make

ROOT = Path(__file__).parents[2]
MODELS = {
    "detection": "rtmdet-tiny",
    "instance_segmentation": "rtmdet-ins-tiny",
    "semantic_segmentation": "bisenetv2",
    "pose": "rtmpose-t",
}
TINY = [
    "dataset.image_size=64", "runtime.device=cpu", "runtime.workers=0", "runtime.batch_size=2", "runtime.epochs=1",
    "runtime.ema=false", "debug.max_batches=1", "tracking=none",
]  # fmt: skip
TRAIN_ALL = """
import json, sys, traceback
from trainer.cli.command_line import main
done = {}
for name, words in json.loads(sys.stdin.read()).items():
    done[name] = main(words)
print("DONE " + json.dumps(done))
"""


@pytest.mark.slow
def test_every_format_is_trained_on_for_a_step(tmp_path: Path) -> None:
    lines = {}
    for name, task in CASES:
        source = make(name, tmp_path / f"{name}-{task}", task)
        words = [f"task={task}", f"model={MODELS[task]}", "dataset=auto", f"dataset.path={source}"]
        lines[f"{name}-{task}"] = [*words, f"output_dir={tmp_path / 'runs' / f'{name}-{task}'}", *TINY]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_ALL],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRAINER_CACHE": str(tmp_path / "cache")},
        timeout=600,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("DONE ")]
    assert told, done.stdout[-2000:] + done.stderr[-4000:]
    codes = json.loads(told[0].removeprefix("DONE "))
    assert codes == dict.fromkeys(lines, 0), done.stderr[-4000:]
    for name in lines:
        result = json.loads((tmp_path / "runs" / name / "latest" / "result.json").read_text())
        assert (result["status"], result["epochs_completed"]) == ("finished", 1), name
