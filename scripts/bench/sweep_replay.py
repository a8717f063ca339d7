"""Recorded learning curves replayed under each pruner: epochs spent, and whether the best is still found.

``sweep_curves.json`` holds the curves of 24 trainings on digits (120 scenes, 8 epochs; learning rate x schedule x
colour jitter), recorded by this trainer's own grid; ``python scripts/bench/sweep_replay.py <trials.jsonl>`` makes it.
Each order of the trials is a sweep of its own, by the store and the pruners that a driver uses.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

ORDERS = 40
FILE = Path(__file__).with_name("sweep_curves.json")
METRIC = "mAP50-95"
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "median": ("median", {"n_warmup_steps": 2}),
    "percentile 25": ("percentile", {"percentile": 25.0, "n_warmup_steps": 2}),
    "hyperband": ("hyperband", {}),
    "successive_halving": ("successive_halving", {"min_resource": 2}),
}


def replay() -> bool:
    """Print the table; whether the median pruner saves nothing."""
    recorded = json.loads(FILE.read_text())
    best = max(max(trial["curve"]) for trial in recorded)
    epochs = len(recorded[0]["curve"])
    print(
        f"\n{len(recorded)} recorded trainings of {epochs} epochs, {ORDERS} orders; the best: {METRIC} {best:.4f}\n"
    )
    head = ("pruner", "epochs spent", "of all", "found the best", "best found (median)", "epochs to the best")
    print("".join(f"{name:>20}" for name in head))
    spent: dict[str, float] = {}
    for name, (pruner, settings) in PRUNERS.items():
        found = [sweep(recorded, pruner, settings, seed) for seed in range(ORDERS)]
        spent[name] = statistics.median(one[0] for one in found)
        hit = [one for one in found if one[1] == best]
        until = f"{statistics.median(one[2] for one in hit):.0f}" if hit else "-"
        cells = (
            name, f"{spent[name]:.0f}", f"{spent[name] / (epochs * len(recorded)):.0%}", f"{len(hit)}/{ORDERS}",
            f"{statistics.median(one[1] for one in found):.4f}", until,
        )  # fmt: skip
        print("".join(f"{cell:>20}" for cell in cells))
    return spent["median"] >= spent["none"]


def sweep(
    recorded: list[dict[str, Any]], pruner: str, settings: dict[str, Any], seed: int
) -> tuple[int, float, int]:
    """One order of the trials: epochs spent in all, the best value of a trial, and epochs spent until it ended."""
    import optuna

    from trainer.config.schema import Sweep
    from trainer.sweep import store as states
    from trainer.sweep.objectives import Objective
    from trainer.sweep.optuna_store import OptunaStore
    from trainer.sweep.pruners import make_pruner
    from trainer.sweep.space import Parameter, Space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = Sweep(name="optuna", sampler="random", pruner=pruner, pruner_options=settings)
    space = Space((), (Parameter("trial", "trial", "int", low=0, high=len(recorded) - 1),))
    store = OptunaStore(
        optuna.storages.InMemoryStorage(), f"{pruner}-{seed}", [Objective(METRIC, "max")], space,
        optuna.samplers.RandomSampler(seed=seed), "random", make_pruner(options, epochs=len(recorded[0]["curve"])),
    )  # fmt: skip
    order = list(range(len(recorded)))
    random.Random(seed).shuffle(order)
    spent, best, until = 0, -1.0, 0
    for place in order:
        curve = recorded[place]["curve"]
        record = store.ask({}, {"trial": place})
        state = states.COMPLETE
        for epoch, value in enumerate(curve, 1):
            spent += 1
            if store.report(record.number, epoch, value) and epoch < len(curve):
                state = states.PRUNED
                break
        store.finish(record.number, state, [max(curve)] if state == states.COMPLETE else None)
        if state == states.COMPLETE and max(curve) > best:
            best, until = max(curve), spent
    return spent, best, until


def record(trials: Path) -> None:
    """Take the curves of a sweep without pruning."""
    rows = [json.loads(line) for line in trials.read_text().splitlines()]
    curves = [
        {
            "params": row["params"],
            "curve": [round(row["reported"][epoch], 5) for epoch in sorted(row["reported"], key=int)],
        }
        for row in rows
        if row["state"] == "complete"
    ]
    FILE.write_text("[\n" + ",\n".join(json.dumps(curve) for curve in curves) + "\n]\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
