"""Run directories as a training leaves them, without the training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trainer.runs.run import Run


def append(run: Run, events: list[dict]) -> None:
    with run.events.open("a") as file:
        file.writelines(json.dumps({"v": 1, "time": 0.0, **event}) + "\n" for event in events)


def started(epochs: int | None = 3, **more) -> dict:
    primary = {"name": "mAP50-95", "mode": "max"}
    facts = {"model": "rtmdet-s", "dataset": "digits", "primary_metric": primary, "epochs": epochs}
    return {"type": "run_started", **facts, **more}


def epoch_of(epoch: int, names: list[str], value: float | None = None) -> list[dict]:
    value = epoch / 10 if value is None else value
    end = epoch * 10
    return [
        *(
            {
                "type": "train",
                "epoch": epoch,
                "iter": end - 10 + i,
                "lr": 0.1 / end,
                "losses": {"loss": 9 / end},
            }
            for i in (5, 10)
        ),
        {"type": "epoch", "epoch": epoch, "iter": end, "losses": {"loss": 1.0}, "lr": 0.1},
        {
            "type": "validation",
            "epoch": epoch,
            "iter": end,
            "metrics": {"mAP50-95": value, "mAP50": value, "count": 17.0},
            "per_class": {name: {"mAP50-95": i / len(names)} for i, name in enumerate(names)},
        },
    ]


def write_curves(run: Run, names: list[str], epoch: int) -> Path:
    steps = np.linspace(0, 1, 101)
    falling = {name: ((1 - steps) * (i + 1) / len(names)).tolist() for i, name in enumerate(names)}
    best = {"threshold": 0.4, "f1": 0.5, "precision": 0.6, "recall": 0.7}
    part = {
        "iou": 0.5,
        "steps": steps.tolist(),
        "classes": names,
        "precision": falling,
        "precision_overall": (1 - steps).tolist(),
        "f1": falling,
        "f1_overall": (1 - steps).tolist(),
        "best": dict.fromkeys(names, best),
        "best_overall": best,
    }
    matrix = np.eye(len(names) + 1, dtype=int) * 7 + 1
    confusion = {"of": "instances", "names": [*names, "background"], "matrix": matrix.tolist()}
    keypoints = {
        "names": ["top", "middle", "never"],
        "error": [0.1, 0.2, None],
        "pck": [1.0, 0.5, None],
        "similarity": [0.9, 0.8, None],
        "labelled": [5, 5, 0],
        "missed": [0, 1, 0],
        "near": 0.2,
    }
    content = {
        "epoch": epoch,
        "iter": epoch * 10,
        "parts": {"mask": part, "box": part},
        "confusion": {**confusion, "threshold": 0.3, "iou": 0.5},
        "keypoints": keypoints,
    }
    path = run.dir / "curves" / f"epoch_{epoch}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path
