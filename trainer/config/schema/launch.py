"""Where and how often something is run: launchers and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.config.schema.leaf import leaf

# ruff: noqa: RUF009  leaf() makes a dataclass field


LAUNCHERS = ("local", "torchrun", "slurm", "ray", "kubernetes")
_SEVERAL = LAUNCHERS[1:]
SAMPLERS = ("grid", "tpe", "random", "cmaes", "gp", "nsgaii", "nsgaiii", "qmc", "auto")
PRUNERS = (
    *("none", "median", "hyperband", "successive_halving"),
    *("patient", "threshold", "percentile"),
)


@dataclass
class Launcher:
    name: str = leaf("local", "how the run is started", choices=LAUNCHERS)
    dry_run: bool = leaf(False, "print exactly what would be submitted, and stop")
    nproc: Any = leaf(
        "auto",
        "processes of a training on each node; auto: one a GPU, 1 without",
        kind="workers",
        only=_SEVERAL,
    )
    nodes: int = leaf(1, "machines that a training runs on", ge=1, only=_SEVERAL)
    max_restarts: int = leaf(
        0,
        "times a training is started again, from its checkpoint, when one of its processes fails",
        ge=0,
        only=_SEVERAL,
    )


@dataclass
class Launch:
    detach: bool = leaf(
        False, "start it, print its handle, and end; status, logs, cancel and resume take that"
    )


@dataclass
class Sweep:
    name: str = leaf("grid", "the sweep: every combination, Optuna, or a ready search space")
    sampler: str = leaf("grid", "who chooses the next trial's values", choices=SAMPLERS)
    sampler_options: dict[str, Any] = leaf({}, "arguments of Optuna's sampler, n_startup_trials: 5")
    pruner: str = leaf("none", "who stops hopeless trials early, by the primary metric", choices=PRUNERS)
    pruner_options: dict[str, Any] = leaf({}, "arguments of Optuna's pruner, n_warmup_steps: 3")
    n_trials: int | None = leaf(
        None, "trials in all, finished or pruned; None: every combination of a grid, otherwise 20", ge=1
    )
    max_minutes: float | None = leaf(None, "minutes after which no trial is started any more", gt=0)
    workers: Any = leaf("auto", "trials at a time; auto: what cores and GPUs allow", kind="workers")
    gpus_per_trial: float = leaf(1.0, "GPUs a trial gets; 0.5: two share one", gt=0)
    threads: int | None = leaf(None, "CPU threads a trial gets; None: its share of the cores", ge=1)
    objectives: list[str] = leaf([], "metrics to improve, name or name:min; none: the task's primary metric")
    params: dict[str, Any] = leaf(
        {}, "what is searched: key, or 'key if group=choice', to choice(..), range(..), interval(..)"
    )
    constraints: list[str] = leaf([], "what a good trial must fulfil: 'parameters <= 10e6'")
    storage: str | None = leaf(
        None, "where trials are kept, a database's URL; None: a journal file in the sweep's folder"
    )
    study: str | None = leaf(None, "the sweep's name; None: from what was typed")
    seed: int = leaf(0, "seed of the sampler", ge=0)
    max_failures: int = leaf(3, "failed trials after which the sweep stops", ge=1)
    retries: int = leaf(1, "times a trial is started again after its process was killed", ge=0)
    lease_seconds: float = leaf(
        60.0, "a running trial whose driver hasn't been heard of for so long is taken over", gt=0
    )
    warm: Any = leaf("auto", "start trials from a process that has imported everything", kind="switch")
    fresh: bool = leaf(False, "start anew, whatever is left of an earlier sweep of that name")
