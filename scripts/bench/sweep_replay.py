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

ORDERS, NEAR = 40, 0.9
FILE = Path(__file__).with_name("sweep_curves.json")
METRIC = "mAP50-95"
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "median from epoch 3": ("median", {"n_warmup_steps": 2}),
    "median from epoch 5": ("median", {"n_warmup_steps": 4}),
    "worst quarter from 4": ("percentile", {"percentile": 75.0, "n_warmup_steps": 3}),
    "hyperband": ("hyperband", {}),
    "successive_halving": ("successive_halving", {"min_resource": 2}),
}


def replay() -> bool:
    """Print the table; whether no pruner saves anything."""
    recorded = json.loads(FILE.read_text())
    best = max(max(trial["curve"]) for trial in recorded)
    epochs = len(recorded[0]["curve"])
    print(
        f"\n{len(recorded)} recorded trainings of {epochs} epochs, {ORDERS} orders; the best: {METRIC} {best:.4f}\n"
    )
    head = ("epochs in all", "found the best", "epochs to it", f"found {NEAR:.0%} of it", "epochs to that")
    print(f"{'pruner':<22}" + "".join(f"{name:>17}" for name in head))
    spent: dict[str, float] = {}
    for name, (pruner, settings) in PRUNERS.items():
        found = [sweep(recorded, pruner, settings, seed) for seed in range(ORDERS)]
        spent[name] = statistics.median(one[0] for one in found)
        cells = [f"{spent[name]:.0f} ({spent[name] / (epochs * len(recorded)):.0%})"]
        for enough in (best, NEAR * best):
            reached = [epoch for one in found if (epoch := first(one[1], enough)) is not None]
            cells += [f"{len(reached)}/{ORDERS}", f"{statistics.median(reached):.0f}" if reached else "-"]
        print(f"{name:<22}" + "".join(f"{cell:>17}" for cell in cells))
    return min(spent.values()) >= spent["none"]


def first(told: list[tuple[int, float]], enough: float) -> int | None:
    """Epochs spent when a trial ended that was good enough; None where none was."""
    return next((spent for spent, value in told if value >= enough), None)


def sweep(
    recorded: list[dict[str, Any]], pruner: str, settings: dict[str, Any], seed: int
) -> tuple[int, list[tuple[int, float]]]:
    """One order of the trials: epochs spent in all; of each complete trial those spent until then, and its value."""
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
    spent, told = 0, list[tuple[int, float]]()
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
        if state == states.COMPLETE:
            told.append((spent, max(curve)))
    return spent, told


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
