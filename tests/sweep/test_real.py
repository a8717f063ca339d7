"""One sweep of real trainings, forked warm, with the command that people type, and its best trial trained again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep.drivers import wait_for
from tests.sweep.test_main import optuna_states, rows
from trainer.runs.events.reader import events

ROOT = Path(__file__).parents[2]
WORDS = (
    "experiment=digits sweep=optuna sweep.sampler=grid runtime.epochs=1,4 sweep.warm=true sweep.workers=2 "
    "sweep.pruner=threshold sweep.pruner_options.lower=1.5 sweep.pruner_options.n_warmup_steps=2 "
    "dataset.scenes=8 dataset.val_scenes=4 runtime.batch_size=2 runtime.val_interval=1 runtime.log_interval=1 "
    "runtime.ema=false runtime.workers=0 runtime.device=cpu tracking=none"
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output_dir of the sweep."""
    output = tmp_path_factory.mktemp("real")
    run("-m", *WORDS.split(), f"output_dir={output}")
    return output


def run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_real_trainings_are_swept_and_pruned(swept: Path) -> None:
    short, long = sorted(rows(swept), key=lambda row: row["params"]["runtime.epochs"])
    assert (short["state"], short["epochs"]) == ("complete", 1)
    # No detector is that good: the pruner stops it after its second epoch, and it saves.
    assert long["state"] == "pruned" and 2 <= long["epochs"] < 4
    assert optuna_states(swept) == {"COMPLETE": 1, "PRUNED": 1}
    assert set(short["figures"]) >= {"mAP50-95", "parameters", "images_per_second", "latency", "seconds"}
    run = Path(long["run_dir"])
    result = json.loads((run / "result.json").read_bytes())
    assert result["status"] == "pruned" and result["checkpoints"]["last"] == "checkpoints/last.pth"
    assert [event["type"] for event in events(run / "events.jsonl")][-1] == "pruned"
    facts = json.loads((run / "run.json").read_bytes())
    assert (facts["parent"], facts["label"]) == (run.name.rpartition("-")[0], "epochs=4")
    (log,) = swept.glob(f"sweeps/*/trials/{long['number']}.log")
    assert "pruned by its sweep" in log.read_text()


@pytest.mark.slow
def test_its_best_trial_is_repeated_bit_for_bit(swept: Path) -> None:
    (folder,) = swept.glob("sweeps/*/sweep.json")
    # Written by the process that the driver leaves behind.
    recipe = wait_for(lambda: next(folder.parent.glob("best.yaml"), None))
    run(f"experiment={recipe}", "id=again", f"output_dir={swept}", "tracking=none")
    (best,) = (row for row in rows(swept) if row["best"])
    before, again = Path(best["run_dir"]), swept / "digits" / "again"
    losses = [[event["losses"] for event in events(run / "events.jsonl") if event["type"] == "train"]
              for run in (before, again)]  # fmt: skip
    assert len(losses[0]) == 4 and losses[0] == losses[1]
    results = [json.loads((run / "result.json").read_bytes()) for run in (before, again)]
    assert results[0]["metrics"] == results[1]["metrics"]
    finished = folder.parent / "sweep.html"
    wait_for(finished.is_file)
    assert (folder.parent / "plots" / "history.png").is_file()
