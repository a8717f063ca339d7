"""A whole training job, really trained: what the backend gets, and what was recorded of one.

``python -m tests.platform.test_sequence`` records ``fixtures/training_job.json`` anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.platform.contract import check_sequence
from tests.platform.receiver import Receiver

ROOT = Path(__file__).parents[2]
FIXTURE = Path(__file__).parent / "fixtures" / "training_job.json"
EPOCHS = 3
WORDS = (
    "experiment=digits runtime.epochs=3 runtime.val_interval=2 dataset.scenes=8 dataset.val_scenes=4 "
    "runtime.batch_size=4 runtime.val_batch_size=4 runtime.ema=false runtime.device=cpu tracking=none id=job-42 "
    "callback=platform callback.job_id=42"
)
CHECKPOINTS = ("checkpoints/42/best.pt", "checkpoints/42/last.pt")


def train(backend: Receiver, output: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Train a tiny detector that tells ``backend``."""
    words = [
        *WORDS.split(),
        f"callback.url={backend.address.removesuffix('/api/v1')}",
        f"output_dir={output}",
    ]
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=900,
    )


LATE = {"best_checkpoint_path", "visualization_urls", "confusion_matrix", "pr_curves", "image_results"}
"""Fields that hang on how fast files are written and uploaded beside the training."""


def shapes(requests: list[tuple[str, Any]]) -> list[tuple[str, list[str]]]:
    """Routes and fields, without the lines for the log and what only slow machines tell."""
    told = [(path, body) for path, body in requests if not path.endswith("/logs")]
    return [
        (path, sorted(name for name in set(body) - LATE if not name.startswith("sample_")))
        for path, body in told
        if not (path.endswith("/progress") and body["current_epoch"] and "metrics" not in body)
    ]


@pytest.fixture(scope="module")
def recorded() -> list[tuple[str, Any]]:
    return [(path, body) for path, body in json.loads(FIXTURE.read_text())]


def test_the_recorded_job_fits_the_contract(recorded):
    assert check_sequence(recorded, EPOCHS) == []
    end = recorded[-1][1]
    assert (end["status"], end["exit_code"]) == ("completed", 0)
    assert [end[f"{name}_checkpoint_path"] for name in ("best", "last")] == [
        f"s3://training-checkpoints/{key}" for key in CHECKPOINTS
    ]
    validations = [body for path, body in recorded if path.endswith("/results")]
    assert [body["epoch"] for body in validations] == [2, 3]
    assert all(len(body["confusion_matrix"]) == 11 for body in validations)
    assert {"confusion_matrix", "pr_curve", "f1_curve"} <= set(validations[0]["visualization_urls"])


@pytest.mark.slow
def test_a_training_tells_what_was_recorded(backend, s3_variables, s3_store, tmp_path, recorded):
    done = train(backend, tmp_path, s3_variables)
    assert done.returncode == 0, done.stdout + done.stderr
    requests = [(one.path, one.body) for one in backend.requests]
    assert check_sequence(requests, EPOCHS) == []
    assert shapes(requests) == shapes(recorded)
    assert set(CHECKPOINTS) <= set(s3_store())
    losses = [body["metrics"]["loss"] for body in backend.rows]
    events = [json.loads(line) for line in (tmp_path / "latest" / "events.jsonl").read_text().splitlines()]
    assert losses == [event["losses"]["loss"] for event in events if event["type"] == "epoch"]
    assert min(losses) > 0
    assert [event["validates"] for event in events if event["type"] == "epoch"] == [False, True, True]
    assert [event["epoch_iterations"] for event in events if event["type"] == "run_started"] == [2]
    ours = [body["metrics"]["mAP50-95"] for body in backend.of("results")]
    assert ours == [event["metrics"]["mAP50-95"] for event in events if event["type"] == "validation"]


def record() -> None:
    import moto.server

    from tests.platform.conftest import BUCKETS, KEYS, s3_client

    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    s3_client(endpoint).create_bucket(Bucket=BUCKETS[0])
    variables = {f"INTERNAL_STORAGE_{name}": value for name, value in {"ENDPOINT": endpoint, **KEYS}.items()}
    with tempfile.TemporaryDirectory() as folder, Receiver() as backend:
        done = train(backend, Path(folder), variables)
        assert done.returncode == 0, done.stdout + done.stderr
        text = json.dumps([(one.path, one.body) for one in backend.requests], indent=1)
        pages = re.sub(r"/[^\s\"]*?/(site-packages|openmmlab-trainer)/", r"\1/", text)
        FIXTURE.parent.mkdir(exist_ok=True)
        FIXTURE.write_text(re.sub(r"\n\s+(?=[\d.\-\]])", " ", pages) + "\n")
    server.stop()


if __name__ == "__main__":
    record()
