"""A sweep's folder as a driver leaves it, made up: conditional parameters, choices, failures."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from trainer.sweep.folder import SweepFolder

SIZES = {"rtmdet-tiny": 4.9e6, "rtmdet-s": 8.9e6, "rtmdet-m": 24.7e6}
MODES = {"mAP50-95": "max", "latency": "min", "parameters": "min"}
SGD, ADAMW = "optimizer.lr if optimizer=sgd", "optimizer.lr if optimizer=adamw"


def parameter(name: str, kind: str, low: float = 0, high: float = 0, **more: Any) -> dict[str, Any]:
    told = {"name": name, "key": name.partition(" ")[0], "kind": kind, **more}
    return told if kind == "categorical" else {**told, "low": low, "high": high}


SPACE = [
    parameter("optimizer", "categorical", choices=["optimizer=sgd", "optimizer=adamw"]),
    parameter(SGD, "float", 1e-4, 1e-1, log=True, when=["optimizer=sgd"]),
    parameter(ADAMW, "float", 1e-5, 1e-2, log=True, when=["optimizer=adamw"]),
    parameter("optimizer.momentum", "float", 0.8, 0.99, when=["optimizer=sgd"]),
    parameter("model", "categorical", choices=[f"model={name}" for name in SIZES]),
    parameter("runtime.batch_size", "int", 2, 16, step=2),
]


def made_up(folder: Path, *objectives: str, trials: int = 24, **about: Any) -> SweepFolder:
    """Write sweep.json and trials.jsonl; the model decides the metric, the rate a little."""
    objectives = objectives or ("mAP50-95",)
    draw = random.Random(1)
    rows = [row(number, draw, objectives) for number in range(trials)]
    mark_best(rows, objectives)
    found = SweepFolder(folder)
    found.describe(
        {
            "id": folder.name,
            "command": "train",
            "fixed": ["experiment=digits"],
            "space": {"parameters": SPACE, "constraints": []},
            "objectives": [{"name": name, "mode": MODES[name]} for name in objectives],
            "sampler": "tpe",
            "pruner": "median",
            "n_trials": trials,
            "store": "postgresql://me:***@nowhere/db",
            "output_dir": str(folder.parents[1]),
            **about,
        }
    )
    found.write_trials(rows)
    return found


def row(number: int, draw: random.Random, objectives: tuple[str, ...]) -> dict[str, Any]:
    optimizer, model = draw.choice(["sgd", "adamw"]), draw.choice(list(SIZES))
    rate, batch = 10 ** draw.uniform(-4, -2), draw.randrange(2, 17, 2)
    params = {"optimizer": optimizer, SGD if optimizer == "sgd" else ADAMW: rate, "model": model}
    if optimizer == "sgd":
        params["optimizer.momentum"] = draw.uniform(0.8, 0.99)
    params["runtime.batch_size"] = batch
    value = 0.3 - 0.01 * (math.log10(rate) + 3) ** 2 + 0.1 * math.log10(SIZES[model] / 4e6)
    figures = {
        "mAP50-95": value,
        "parameters": SIZES[model],
        "latency": SIZES[model] / 1e6 + draw.uniform(0, 9),
    }
    state = "complete" if number % 4 else draw.choice(["failed", "infeasible", "pruned"])
    if state == "pruned" and len(objectives) > 1:
        state = "failed"
    epochs = {"complete": 12, "pruned": 3}.get(state, 2)
    values = {name: figures[name] for name in objectives} if state in ("complete", "pruned") else {}
    return {
        "number": number,
        "state": state,
        "best": False,
        "values": values,
        "params": params,
        "label": f"optimizer={optimizer}, lr={rate:.4g}",
        "words": [f"optimizer={optimizer}", f"optimizer.lr={rate}", f"model={model}"],
        "run_id": f"made-{number}",
        "run_dir": None,
        "epochs": epochs,
        "seconds": 30.0,
        "started": 1.7e9 + 30 * number,
        "ended": 1.7e9 + 30 * number + 30,
        "reported": {epoch: value * (1 - math.exp(-epoch / 3)) for epoch in range(1, epochs + 1)},
        "figures": figures,
        "error": "it broke" if state == "failed" else None,
        "driver": "x",
    }


def mark_best(rows: list[dict[str, Any]], objectives: tuple[str, ...]) -> None:
    complete = [one for one in rows if one["state"] == "complete"]
    scores = {
        one["number"]: [one["values"][name] * (1 if MODES[name] == "max" else -1) for name in objectives]
        for one in complete
    }
    for one in complete:
        mine = scores[one["number"]]
        others = [score for number, score in scores.items() if number != one["number"]]
        one["best"] = not any(all(a >= b for a, b in zip(score, mine, strict=True)) for score in others)
