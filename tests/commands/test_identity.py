"""Killed and started again by the same command, a run is the same run; reproduced, it has the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.cli import command_line
from trainer.core.errors import ResourceError
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

ROOT = Path(__file__).parents[2]
WORDS = (  # noqa: SIM905
    "model=rtmdet-tiny task=detection dataset=digits dataset.scenes=8 dataset.val_scenes=4 runtime.batch_size=4 "
    "runtime.workers=0 runtime.epochs=3 runtime.device=cpu tracking=none id=job-7 resume=auto"
).split()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TRAINER_JOB": "7", "OMP_NUM_THREADS": "1"}


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer", *words]
    return subprocess.Popen(command, cwd=place, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where job 7 was killed after a checkpoint, started again, and then reproduced."""
    place = tmp_path_factory.mktemp("identity")
    run = Run(place / "runs" / "digits-detection" / "job-7", "job-7", "digits-detection")
    with start(place, *WORDS) as process:
        while Manifest(run.checkpoints).empty:
            assert process.poll() is None
            time.sleep(0.02)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trainer.runs.run.LOCK_SECONDS", 0.0)
            training = f"process {process.pid} on .* is training run job-7"
            with pytest.raises(ResourceError, match=training), run.held():
                pass
        process.send_signal(signal.SIGKILL)
    for words in (WORDS, ["reproduce", "job-7", "json=true"]):
        with start(place, *words) as process:
            told, _ = process.communicate(timeout=300)
            assert process.returncode == 0
    (place / "told.json").write_text(told[: told.index("\n}") + 2])
    yield place


@pytest.mark.slow
def test_killed_and_started_again_it_is_the_same_run(place: Path) -> None:
    run = Run.find(place / "runs", "job-7")
    facts, result = run.facts, json.loads((run.dir / "result.json").read_text())
    assert [attempt["status"] for attempt in facts["attempts"]] == ["killed", "finished"]
    assert [attempt["changed"] for attempt in facts["attempts"]] == [{}, {}]
    assert len({attempt["pid"] for attempt in facts["attempts"]}) == 2
    assert (facts["job"], result["run_id"], result["epochs_completed"]) == ("7", "job-7", 3)
    assert not (run.dir / "config.attempt-1.yaml").exists()


@pytest.mark.slow
def test_a_reproduced_run_has_the_same_metrics_and_weights(place: Path) -> None:
    import torch

    first, second = Run.find(place / "runs", "job-7"), Run.find(place / "runs", "latest")
    assert second.id != first.id and second.experiment == first.experiment
    assert (second.facts["reproduces"], second.facts["fingerprint"]) == ("job-7", first.facts["fingerprint"])
    told = json.loads((place / "told.json").read_text())
    assert told["run"] == "job-7"
    assert [told["differences"][area] for area in ("config", "data", "versions", "hardware")] == [{}] * 4

    results = [json.loads((run.dir / "result.json").read_text()) for run in (first, second)]
    assert results[0]["metrics"] == results[1]["metrics"]
    weights = [
        torch.load(run.checkpoints / "last.pth", weights_only=True)["state_dict"] for run in (first, second)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
def test_check_says_what_differs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"output_dir={place / 'runs'}"
    folder = place / "runs" / "digits-detection"
    before = sorted(folder.iterdir())
    assert command_line.main(["reproduce", "job-7", "check=true", where, "optimizer.lr=0.1"]) == 1
    table = capsys.readouterr().out
    assert "optimizer.lr (as typed)" in table and "0.1" in table and "fingerprint" not in table

    run = Run.find(place / "runs", "job-7")
    run.update(fingerprint="other", versions={**run.facts["versions"], "torch": "1.0"})
    assert command_line.main(["reproduce", "job-7", "--check", "--json", where]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["same"] and found["differences"]["data"]["fingerprint"][0] == "other"
    assert found["differences"]["versions"].keys() == {"torch"} and found["differences"]["config"] == {}
    assert sorted(folder.iterdir()) == before  # nothing was trained
