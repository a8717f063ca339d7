from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from trainer.runs.run import Run


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> str:
    """One SQLite file for all tests, since making its tables takes seconds; each has its own experiment."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def log() -> type[Log]:
    return Log


@pytest.fixture
def make_run(tmp_path):
    """Makes a run directory as a training leaves it, or as far as ``events`` go."""

    def make(uri: str | None, experiment: str = "digits-detection", events: list[dict] | None = None) -> Run:
        run = Run.create(tmp_path / "runs", experiment, "rtmdet-s")
        run.update(
            fingerprint="f1e2d3",
            host="here",
            versions={"python": "3.11.7", "torch": "2.13.0"},
            git={"commit": "c0ffee", "dirty": True, "branch": "main", "root": "/home/me"},
            trainer_git=None,
            hardware={"cpu": "A CPU", "cores": 2, "memory_gb": 7.8, "gpus": ["A GPU", "A GPU"]},
        )
        config = {
            "task": {"name": "detection"},
            "model": {"name": "rtmdet-s"},
            "dataset": {"name": "digits", "path": None},
            "optimizer": {"name": "adamw", "lr": 0.002, "betas": [0.9, 0.999]},
            "tracking": {
                "name": "mlflow",
                "uri": uri,
                "experiment": None,
                "run_name": None,
                "log_checkpoint": True,
            },
            "launcher": {"name": "local"},
            "mm": {"default_hooks": {"upload": {"api_key": "hunter2", "url": "http://me:hunter2@host/x"}}},
        }
        (run.dir / "config.yaml").write_text(yaml.safe_dump(config))
        (run.dir / "overrides.yaml").write_text("- model=rtmdet-s\n")
        (run.dir / "mmengine.py").write_text("model = dict(type='RTMDet')\n")
        (run.dir / "train.log").write_text("trained\n")
        run.checkpoints.mkdir()
        (run.checkpoints / "best.pth").write_bytes(b"weights")
        (run.checkpoints / "last.pth").write_bytes(b"later weights")
        Log.append(run.dir, Log.whole() if events is None else events)
        return run

    return make


class Log:
    """Synthetic event logs."""

    @staticmethod
    def append(run_dir: Path, events: list[dict]) -> None:
        with (run_dir / "events.jsonl").open("a") as file:
            for event in events:
                file.write(
                    json.dumps({"v": 1, "time": 1_700_000_000.0 + event.get("iter", 0), **event}) + "\n"
                )

    @staticmethod
    def started(epochs: int | None = 3, iterations: int = 30) -> dict:
        return {
            "type": "run_started",
            "task": "detection",
            "dataset": "digits",
            "classes": ["one", "two"],
            "data": {
                "fingerprint": "f1e2d3" * 10,
                "format": "coco",
                "source": "/data/digits",
                "splits": {
                    "train": {"images": 12, "annotations": 40},
                    "val": {"images": 4, "annotations": 9},
                },
            },
            "primary_metric": {"name": "mAP50-95", "mode": "max"},
            "epochs": epochs,
            "iterations": iterations,
        }

    @staticmethod
    def epoch(epoch: int, iterations: int = 10) -> list[dict]:
        """One epoch of ``iterations`` train events, its averages and its validation."""
        end = epoch * iterations
        steps = range(end - iterations + 1, end + 1)
        return [
            *(
                {"type": "train", "epoch": epoch, "iter": i, "lr": 0.002, "losses": {"loss": 10 / i}}
                for i in steps
            ),
            {
                "type": "epoch",
                "epoch": epoch,
                "iter": end,
                "losses": {"loss": 1 / epoch},
                "lr": 0.002,
                "seconds": 3.0,
            },
            {
                "type": "validation",
                "epoch": epoch,
                "iter": end,
                "metrics": {"mAP50-95": epoch / 10, "mAP50": epoch / 5},
                "per_class": {"one": {"mAP50": 0.5}},
            },
        ]

    @staticmethod
    def whole(last: str = "finished") -> list[dict]:
        return [Log.started(), *Log.epoch(1), *Log.epoch(2), *Log.epoch(3), {"type": last, "iter": 30}]
