"""Event logs as a training writes them, and the run directories around them, without a training."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from trainer.runs.run import Run

EPOCHS = 3
STEPS = [0.0, 0.5, 1.0]
BEST = {"threshold": 0.4, "f1": 0.6, "precision": 0.66, "recall": 0.58}


class Story:
    """The events of a run, numbered and dated; each method adds some."""

    def __init__(self, epochs: int | None = EPOCHS, **about: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.time, self.epochs, self.about = 1_700_000_000.0, epochs, about

    def add(self, kind: str, /, **fields: Any) -> Story:
        self.time += 1.0
        self.events.append({"v": 1, "seq": len(self.events) + 1, "time": self.time, "type": kind, **fields})
        return self

    def started(self, resumed: bool = False) -> Story:
        about = {
            "task": "detection", "model": "rtmdet-s", "dataset": "parts", "classes": ["scratch", "dent"],
            "primary_metric": {"name": "mAP50-95", "mode": "max"}, "epochs": self.epochs,
            "iterations": 10 * (self.epochs or 3), "epoch_iterations": 10, "parameters": 8_900_000, "device": "cpu",
        }  # fmt: skip
        return self.add("run_started", **{**about, **self.about}, resumed=resumed)

    def train(self, iteration: int, length: int = 10, **fields: Any) -> Story:
        epoch = -(-iteration // length)
        facts = {"lr": 0.02, "losses": {"loss": 9.0, "loss_cls": 4.0}, "seconds": 0.1, "eta": 30.0}
        return self.add("train", **{**facts, "epoch": epoch, "iter": iteration, **fields})

    def epoch(self, epoch: int, validates: bool | None = True, loss: float | None = None) -> Story:
        self.train(10 * epoch)
        losses = {"loss": 3.0 / epoch if loss is None else loss, "loss_cls": 1.0 / epoch}
        known = {} if validates is None else {"validates": validates}
        return self.add("epoch", epoch=epoch, iter=10 * epoch, losses=losses, lr=0.02, seconds=6.0, **known)

    def validation(self, epoch: int, value: float | None = None, iteration: int | None = None) -> Story:
        value = 0.1 * epoch if value is None else value
        return self.add(
            "validation",
            epoch=epoch,
            iter=10 * epoch if iteration is None else iteration,
            metrics={"mAP50-95": value, "mAP50": min(1.0, 1.5 * value)},
            per_class={"scratch": {"mAP50-95": value, "mAP50": value}},
            seconds=1.0,
        )

    def curves(self, epoch: int, name: str | None = None) -> Story:
        return self.add("artifact", path=f"curves/{name or f'epoch_{epoch}'}.json", kind="curves")

    def whole_epoch(self, epoch: int) -> Story:
        self.epoch(epoch).validation(epoch).curves(epoch)
        return self.checkpoint("last", epoch).checkpoint("best", epoch)

    def checkpoint(self, kind: str, epoch: int) -> Story:
        path = f"checkpoints/{kind}.pth"
        return self.add(
            "checkpoint", path=path, kind=kind, epoch=epoch, iter=10 * epoch, metric="m", value=0.1
        )

    def resumed(self, epoch: int, iteration: int | None = None) -> Story:
        at = 10 * epoch if iteration is None else iteration
        return self.started(resumed=True).add(
            "resumed", path="checkpoints/last.pth", epoch=epoch, iter=at, events=1
        )

    def ended(self, kind: str = "finished", **fields: Any) -> Story:
        done = max([event.get("epoch", 0) for event in self.events if event["type"] == "epoch"], default=0)
        result = {"epochs_completed": done, "duration_seconds": 60.0, "mlflow_run_id": None}
        return self.add(kind, result=result, **fields)

    def whole(self) -> Story:
        self.started()
        for epoch in range(1, EPOCHS + 1):
            self.whole_epoch(epoch)
        return self.ended()


def write_files(run_dir: Path, epochs: Iterable[int]) -> None:
    """Curves and samples of the validations after these epochs."""
    part = {
        "iou": 0.5, "steps": STEPS, "classes": ["scratch"], "precision": {"scratch": [1.0, 0.9, 0.4]},
        "best": {"scratch": BEST}, "best_overall": BEST,
    }  # fmt: skip
    confusion = {
        "of": "instances",
        "names": ["scratch", "dent", "background"],
        "matrix": [[30, 3, 8], [2, 25, 6], [5, 4, 0]],
    }
    found = {"category_id": 1, "category_name": "scratch", "bbox": [1.0, 2.0, 3.0, 4.0]}
    images = [
        {
            "prediction": {"file": "/data/a.png", "predictions": [{**found, "score": 0.9}]},
            "truth": {"file": "/data/a.png", "predictions": [{**found, "score": None}]},
        }
    ]
    for epoch in epochs:
        about = {"task": "detection", "epoch": epoch, "iter": 10 * epoch}
        _write(
            run_dir / "curves" / f"epoch_{epoch}.json",
            {**about, "parts": {"box": part}, "confusion": confusion},
        )
        _write(run_dir / "predictions" / f"epoch_{epoch}.json", {**about, "threshold": 0.3, "images": images})


def make_run(folder: Path, address: str, id: str = "job-42", **callback: Any) -> Run:
    """A run directory of job 42, with checkpoints and their manifest and no events yet."""
    from trainer.runs.manifest import sha256

    run = Run.create(folder / "runs", "parts-detection", "rtmdet-s", id)
    run.update(model="rtmdet-s", task="detection", dataset="parts")
    attempt(run)
    usual = {"name": "platform", "url": address, "job_id": 42, "retry_delay": 0.01, "flush_seconds": 60.0}
    (run.dir / "config.yaml").write_text(yaml.safe_dump({"callback": {**usual, **callback}}))
    manifest: dict[str, Any] = {"version": 1}
    for name in ("best", "last"):
        path = run.checkpoints / f"{name}.pth"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"{name} weights".encode())
        manifest[name] = {
            "file": path.name,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "epoch": 1,
            "iter": 10,
        }
    _write(run.checkpoints / "manifest.json", manifest)
    write_files(run.dir, range(1, EPOCHS + 1))
    return run


def attempt(run: Run, alive: bool = True) -> None:
    """The run's only attempt: this process, or one that is gone."""
    pid = os.getpid() if alive else 2**31 - 1
    run.update(attempts=[{"pid": pid, "host": socket.gethostname(), "ended": None, "status": "running"}])


def append(run: Run, events: Iterable[dict[str, Any]]) -> None:
    with run.events.open("a") as file:
        for event in events:
            file.write(json.dumps(event) + "\n")


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
