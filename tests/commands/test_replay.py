"""python -m trainer replay"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from trainer.cli.command_line import main
from trainer.runs.run import Run

EVENTS = [
    {
        "type": "run_started",
        "task": "detection",
        "model": "m",
        "dataset": "d",
        "classes": [],
        "device": "cpu",
    },
    {"type": "validation", "epoch": 1, "iter": 5, "metrics": {"mAP50-95": 0.25}, "per_class": {}},
    {
        "type": "finished",
        "result": {"status": "finished", "primary_metric": {"name": "mAP50-95", "value": 0.25}},
    },
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run = Run.create("runs", "exp", "m")
    (run.dir / "config.yaml").write_text(yaml.safe_dump({"tracking": {"name": "none"}}))
    lines = [json.dumps({"seq": n, "time": 1.7e9, **event}) for n, event in enumerate(EVENTS, 1)]
    run.events.write_text("\n".join(lines) + "\n")
    return run


def test_what_the_console_showed(run: Run, capsys) -> None:
    assert main(["replay", "latest", "sink=console"]) == 0
    out = capsys.readouterr().out
    assert "detection: m on d" in out and "mAP50-95 0.2500" in out


def test_result_and_tensorboard(run: Run, capsys) -> None:
    assert main(["replay", run.id[:8], "sink=result"]) == 0
    assert json.loads((run.dir / "result.json").read_bytes())["primary_metric"]["value"] == 0.25
    assert main(["replay", str(run.dir), "sink=tensorboard"]) == 0
    assert len(list((run.dir / "tensorboard").iterdir())) == 1
    out = capsys.readouterr().out
    assert "finished, mAP50-95 0.25" in out and "tensorboard --logdir" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["replay"], "name one run"),
        (["replay", "a", "b"], "name one run"),
        (["replay", "nowhere"], "no run 'nowhere'"),
        (["replay", "latest", "sink=mlfow"], "mlflow"),
        (["replay", "latest", "sink=result", "uri=http://x"], "uri is for sink=mlflow"),
        (["replay", "latest", "sink=mlflow", "uri=./mlruns"], "no longer writes to plain folders"),
    ],
)
def test_mistakes(run: Run, capsys, words: list[str], complaint: str) -> None:
    assert main(words) == 2
    assert complaint in capsys.readouterr().err


def test_a_run_without_events(run: Run, capsys) -> None:
    run.events.unlink()
    assert main(["replay", "latest"]) == 2
    assert "no events.jsonl" in capsys.readouterr().err


def test_a_server_that_isnt_there(run: Run, capsys) -> None:
    assert main(["replay", "latest", "uri=http://me:hunter2222@127.0.0.1:9", "patience=0"]) == 1
    err = capsys.readouterr().err
    assert "MLflow at http://127.0.0.1:9 doesn't have all of this run" in err and "hunter" not in err


def test_into_an_empty_database_twice(run: Run, tmp_path: Path, capsys) -> None:
    uri = f"sqlite:///{tmp_path / 'other' / 'x.db'}"
    assert main(["replay", "latest", "sink=mlflow", f"uri={uri}"]) == 0
    state = (run.dir / "sinks" / "mlflow.json").read_bytes()
    assert main(["replay", "latest", "sink=mlflow", f"uri={uri}"]) == 0
    assert (run.dir / "sinks" / "mlflow.json").read_bytes() == state
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    [found] = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert (found.data.metrics["mAP50-95"], found.info.status) == (0.25, "FINISHED")
    assert os.fspath(run.dir) == found.data.tags["run_dir"]
