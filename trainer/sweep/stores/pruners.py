"""Optuna's pruners by name, with options checked against what each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import PRUNERS, Sweep
from trainer.sweep.objectives import Objective
from trainer.sweep.stores.optuna_arguments import build, need

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

WHERE = "sweep.pruner_options"


def make_pruner(sweep: Sweep, *, epochs: int | None = None) -> BasePruner | None:
    """The pruner that a sweep names; None for ``none``.

    Steps, warm-ups and resources are epochs. ``patient`` takes ``wrapped_pruner`` (another one's name; without it
    a trial is stopped when it no longer improves) and ``wrapped_options``.

    Args:
        epochs: the length of a full trial, where known: then nothing is pruned in its first quarter unless an
            option or Hyperband says so, and Hyperband needn't wait for a trial to end.

    Raises:
        ConfigError: an option is unknown or wrong.
    """
    if sweep.pruner == "none":
        if sweep.pruner_options:
            raise ConfigError(f"{WHERE} is ignored without a pruner: sweep.pruner=median.")
        return None
    need(f"sweep.pruner={sweep.pruner}", {"optuna": "optuna"})
    return _make(WHERE, sweep.pruner, sweep.pruner_options, epochs)


def pruner_mistakes(sweep: Sweep, objectives: Sequence[Objective] = ()) -> list[str]:
    """What is wrong with a sweep's pruner. Without one Optuna isn't needed."""
    found = []
    if sweep.pruner != "none" and len(objectives) > 1:
        names = " and ".join(objective.name for objective in objectives)
        found = [f"sweep.pruner={sweep.pruner}: pruning goes with one objective, and there are {names}."]
    try:
        make_pruner(sweep)
    except ConfigError as error:
        found += error.message.splitlines()
    return found


def _make(where: str, name: str, options: Mapping[str, Any], epochs: int | None) -> Any:
    from optuna import pruners

    given = dict(_DEFAULTS.get(name, {}))
    if epochs and name in _FIRST:
        given[_FIRST[name]] = max(1, epochs // 4)
    if name == "hyperband" and epochs:
        given["max_resource"] = epochs
    if name == "patient":
        options = dict(options)
        wrapped = options.pop("wrapped_pruner", None)
        inner = options.pop("wrapped_options", {})
        given["wrapped_pruner"] = _wrapped(where, wrapped, inner, epochs)
    if name == "threshold" and not {"lower", "upper"} & set(options):
        raise ConfigError(f"{where}.lower or .upper is missing: what a trial must stay above or below.")
    return build(where, getattr(pruners, _CLASSES[name]), options, **given)


def _wrapped(where: str, name: Any, options: Any, epochs: int | None) -> Any:
    if name in (None, "none"):
        if options:
            raise ConfigError(f"{where}.wrapped_options are ignored without wrapped_pruner.")
        return None
    names = [one for one in PRUNERS if one not in ("none", "patient")]
    if name not in names:
        hint = did_you_mean(str(name), names) or f" Pruners: {', '.join(names)}."
        raise ConfigError(f"{where}.wrapped_pruner: there is no pruner {name!r}.{hint}")
    if not isinstance(options, dict):
        raise ConfigError(f"{where}.wrapped_options: expected a mapping, got {options!r}.")
    return _make(f"{where}.wrapped_options", str(name), options, epochs)


_CLASSES = {
    "median": "MedianPruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
    "percentile": "PercentilePruner",
}
# Where Optuna has none, or one that prunes the best: scripts/bench/sweep replays recorded curves.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "patient": {"patience": 3},
    "percentile": {"percentile": 80.0},
    "successive_halving": {"reduction_factor": 2},
}
# The option that says from when on trials may be pruned.
_FIRST = {
    "median": "n_warmup_steps",
    "percentile": "n_warmup_steps",
    "threshold": "n_warmup_steps",
    "successive_halving": "min_resource",
}
