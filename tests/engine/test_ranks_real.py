"""A model of the zoo, trained by the real command in two processes; and torchrun itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

HERE = Path(__file__).parent
# Group normalisation, nothing drawn: what two processes learn is what one learns from the doubled batch.
WORDS = [
    *(
        "model=segformer-b0",
        "task=semantic_segmentation",
        "dataset=digits",
        "augmentation=none",
        "runtime=cpu",
    ),
    *("dataset.scenes=16", "dataset.val_scenes=5", "dataset.scene_size=64", "dataset.image_size=64"),
    "mm.model.decode_head.norm_cfg={type: GN, num_groups: 8, requires_grad: true}",
    *("mm.model.decode_head.dropout_ratio=0", "mm.model.backbone.drop_path_rate=0"),
    *("runtime.workers=0", "runtime.log_interval=1", "runtime.epochs=2", "runtime.val_batch_size=1"),
    *(
        "optimizer=sgd",
        "optimizer.lr=0.04",
        "runtime.auto_scale_lr=true",
        "id=run",
        "name=ranks",
        "tracking.plots=false",
    ),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, forks: Any) -> dict[str, Run]:
    """The same training by one process and by two; MLflow is told of both."""
    folder = tmp_path_factory.mktemp("real")
    forks.load("mmseg.models", "mmseg.datasets", "mmseg.evaluation")
    for name in ("alone", "pair"):
        (folder / name).mkdir()
    alone = forks.trainer(folder / "alone", *WORDS, "runtime.batch_size=4", "tracking=none")
    assert alone.wait() == 0, alone.output
    pair = forks.trainers(folder / "pair", *WORDS, "runtime.batch_size=2", "tracking.log_checkpoint=false")
    assert [one.wait() for one in pair] == [0, 0], pair[0].output + pair[1].output
    assert pair[1].output == ""
    assert "batch 4 (2 x 2 processes), lr 0.01)" in pair[0].output
    return {name: Run.open(folder / name / "runs" / "ranks" / "run") for name in ("alone", "pair")}


def losses(run: Run) -> list[float]:
    return [event["losses"]["loss"] for event in events(run.events) if event["type"] == "train"]


def test_the_loss_curve_is_one_processs_with_the_doubled_batch(runs: dict[str, Run]) -> None:
    alone, pair = losses(runs["alone"]), losses(runs["pair"])
    assert len(alone) == 8
    assert pair == pytest.approx(alone, rel=1e-3)
    assert abs(alone[0] - alone[-1]) > 0.02  # it has learnt something meanwhile


def test_batch_and_rate_are_kept(runs: dict[str, Run]) -> None:
    facts = {name: run.facts["batch"] for name, run in runs.items()}
    assert facts["pair"] == {
        **facts["alone"],
        **{"images": 2, "processes": 2},
    }
    assert (facts["pair"]["effective"], facts["pair"]["lr"], facts["pair"]["rule"]) == (4, 0.01, "linear")


def test_one_run_everywhere(runs: dict[str, Run]) -> None:
    folder = runs["pair"].dir.parents[2]
    assert [path.name for path in folder.iterdir()] == ["runs"]  # no folder of mmengine's beside it
    assert [path.name for path in runs["pair"].dir.parent.iterdir()] == ["run"]
    assert names(runs["pair"]) - names(runs["alone"]) <= {"sinks"}
    assert names(runs["alone"]) <= names(runs["pair"])
    with sqlite3.connect(folder / "runs" / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        found = database.execute("select value from params where key = 'batch.effective'").fetchall()
    assert found == [("4",)]


def names(run: Run) -> set[str]:
    return {path.name for path in run.dir.iterdir() if not path.name.endswith((".lock", "lock"))}


def test_torchrun_told_to_end_saves(tmp_path: Path) -> None:
    """Its agent sends SIGTERM to every process there is, the data loaders' too."""
    run = Run.create(tmp_path, "toy", "toy")
    options = {"epochs": 200, "batch_size": 3, "workers": 1, "data": {"slow": 0.03}}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [*command, str(HERE / "toy.py"), str(run.dir), json.dumps(options)],
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])},
        )
    try:
        until = time.monotonic() + 180
        while not run.events.exists() or "train" not in [event["type"] for event in events(run.events)]:
            assert process.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    result = json.loads((run.dir / "result.json").read_text())
    assert result["status"] == "cancelled" and result["checkpoints"]["last"], said.read_text()
    assert Manifest(run.checkpoints).read()["last"]["iter"] > 0
    assert "resume with: " in said.read_text()
