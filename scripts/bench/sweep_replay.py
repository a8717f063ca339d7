"""Recorded learning curves replayed under each pruner: epochs spent, and whether the best is still found.

``sweep_curves.json`` holds the curves of 24 trainings on digits (120 scenes, 8 epochs; learning rate x schedule x
colour jitter), recorded by this trainer's own grid; ``python scripts/bench/sweep_replay.py <trials.jsonl>`` makes it.
Sixteen of them in random order are a sweep of its own, by the store and the pruners that a driver uses: not always
the same one is the best.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

SWEEPS, TRIALS = 100, 16
FILE = Path(__file__).with_name("sweep_curves.json")
METRIC = "mAP50-95"
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "percentile": ("percentile", {}),
    "percentile from half": ("percentile", {"n_warmup_steps": 4}),
    "successive_halving": ("successive_halving", {}),
    "median": ("median", {}),
    "hyperband": ("hyperband", {}),
    "patient, percentile": ("patient", {"patience": 1, "wrapped_pruner": "percentile"}),
}


def replay() -> bool:
    """Print the table; whether no pruner saves anything."""
    recorded = json.loads(FILE.read_text())
    epochs = len(recorded[0]["curve"])
    drawn = [random.Random(seed).sample(recorded, TRIALS) for seed in range(SWEEPS)]
    print(f"\n{SWEEPS} sweeps of {TRIALS} of {len(recorded)} recorded trainings of {epochs} epochs\n")
    head = ("epochs spent", "found the best", "value lost, mean", "at worst")
    print(f"{'pruner, its defaults':<22}" + "".join(f"{name:>18}" for name in head))
    spent: dict[str, float] = {}
    for name, (pruner, settings) in PRUNERS.items():
        found = [sweep(trials, pruner, settings, seed) for seed, trials in enumerate(drawn)]
        spent[name] = statistics.mean(one[0] for one in found) / (epochs * TRIALS)
        bests = [max(max(trial["curve"]) for trial in trials) for trials in drawn]
        lost = [1 - value / best for (_, value), best in zip(found, bests, strict=True)]
        cells = [f"{spent[name]:.0%}", f"{lost.count(0.0)}/{SWEEPS}"]
        cells += [f"{statistics.mean(lost):.1%}", f"{max(lost):.1%}"]
        print(f"{name:<22}" + "".join(f"{cell:>18}" for cell in cells))
    return min(spent.values()) >= spent["none"]


def sweep(
    trials: list[dict[str, Any]], pruner: str, settings: dict[str, Any], seed: int
) -> tuple[int, float]:
    """The trials one after the other: epochs spent in all, the best value of a complete trial."""
    import optuna

    from trainer.schema import Sweep
    from trainer.sweep.objectives import Objective
    from trainer.sweep.space import Parameter, SearchSpace
    from trainer.sweep.stores import trial_store as states
    from trainer.sweep.stores.optuna_store import OptunaStore
    from trainer.sweep.stores.pruners import make_pruner

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = Sweep(name="optuna", sampler="random", pruner=pruner, pruner_options=settings)
    space = SearchSpace((), (Parameter("trial", "trial", "int", low=0, high=len(trials) - 1),))
    store = OptunaStore(
        optuna.storages.InMemoryStorage(), f"{pruner}-{seed}", [Objective(METRIC, "max")], space,
        optuna.samplers.RandomSampler(seed=seed), "random", make_pruner(options, epochs=len(trials[0]["curve"])),
    )  # fmt: skip
    spent, told = 0, 0.0
    for place, trial in enumerate(trials):
        curve = trial["curve"]
        record = store.ask({}, {"trial": place})
        state = states.COMPLETE
        for epoch, value in enumerate(curve, 1):
            spent += 1
            if store.report(record.number, epoch, value) and epoch < len(curve):
                state = states.PRUNED
                break
        store.finish(record.number, state, [max(curve)] if state == states.COMPLETE else None)
        if state == states.COMPLETE:
            told = max(told, *curve)
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
