"""Whether a command stays with what it starts, and how a sweep is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.schema.declaration import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


SAMPLERS = ("grid", "tpe", "random", "cmaes", "gp", "nsgaii", "nsgaiii", "qmc", "auto")
PRUNERS = (
    *("none", "median", "hyperband", "successive_halving"),
    *("patient", "threshold", "percentile"),
)


@dataclass
class Launch:
    detach: bool = typed_field(
        False, "start it, print its handle, and end; status, logs, cancel and resume take that"
    )


@dataclass
class Sweep:
    name: str = typed_field("grid", "the sweep: every combination, Optuna, or a ready search space")
    sampler: str = typed_field("grid", "who chooses the next trial's values", choices=SAMPLERS)
    sampler_options: dict[str, Any] = typed_field({}, "arguments of Optuna's sampler, n_startup_trials: 5")
    pruner: str = typed_field(
        "none", "who stops hopeless trials early, by the primary metric", choices=PRUNERS
    )
    pruner_options: dict[str, Any] = typed_field({}, "arguments of Optuna's pruner, n_warmup_steps: 3")
    n_trials: int | None = typed_field(
        None, "trials in all, finished or pruned; None: every combination of a grid, otherwise 20", ge=1
    )
    max_minutes: float | None = typed_field(None, "minutes after which no trial is started any more", gt=0)
    workers: Any = typed_field("auto", "trials at a time; auto: what cores and GPUs allow", kind="workers")
    gpus_per_trial: float = typed_field(1.0, "GPUs a trial gets; 0.5: two share one", gt=0)
    threads: int | None = typed_field(None, "CPU threads a trial gets; None: its share of the cores", ge=1)
    objectives: list[str] = typed_field(
        [], "metrics to improve, name or name:min; none: the task's primary metric"
    )
    params: dict[str, Any] = typed_field(
        {}, "what is searched: key, or 'key if group=choice', to choice(..), range(..), interval(..)"
    )
    constraints: list[str] = typed_field([], "what a good trial must fulfil: 'parameters <= 10e6'")
    storage: str | None = typed_field(
        None, "where trials are kept, a database's URL; None: a journal file in the sweep's folder"
    )
    study: str | None = typed_field(None, "the sweep's name; None: from what was typed")
    seed: int = typed_field(0, "seed of the sampler", ge=0)
    max_failures: int = typed_field(3, "failed trials after which the sweep stops", ge=1)
    retries: int = typed_field(1, "times a trial is started again after its process was killed", ge=0)
    lease_seconds: float = typed_field(
        60.0, "a running trial whose driver hasn't been heard of for so long is taken over", gt=0
    )
    warm: Any = typed_field("auto", "start trials from a process that has imported everything", kind="switch")
    fresh: bool = typed_field(False, "start anew, whatever is left of an earlier sweep of that name")
