"""Optuna's samplers by name, with options checked against what each takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainer.core.errors import ConfigError
from trainer.schema import Sweep
from trainer.sweep.stores.optuna_arguments import build, need

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from trainer.sweep.space.space import SearchSpace

WHERE = "sweep.sampler_options"


def make_sampler(sweep: Sweep, space: SearchSpace, *, objectives: int = 1, salt: int = 0) -> BaseSampler:
    """The sampler that a sweep names.

    Args:
        objectives: how many there are.
        salt: added to ``sweep.seed``. A sampler that goes on with a study, or one of several drivers on it, would
            draw the same values again with the same seed: give the number of trials there are, or another one
            for each driver. 0 for a new study. ``grid`` and ``qmc`` count in the study and don't need it.

    Raises:
        ConfigError: an option is unknown or wrong, or a package that the sampler needs isn't installed.
    """
    need(f"sweep={sweep.name}", {"optuna": "optuna"})
    need(f"sweep.sampler={sweep.sampler}", _PACKAGES.get(sweep.sampler, {}))
    if objectives > 1 and sweep.sampler == "cmaes":
        raise ConfigError(f"sweep.sampler=cmaes goes with one objective, and there are {objectives}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _MAKERS[sweep.sampler](sweep, space, objectives, (sweep.seed + salt) % 2**32)


def sampler_mistakes(sweep: Sweep, space: SearchSpace, objectives: int = 1) -> list[str]:
    """What is wrong with a sweep's sampler. A plain grid needs no Optuna."""
    try:
        if sweep.sampler == "grid":
            _check_grid(space)
            if not sweep.sampler_options:
                return []
        make_sampler(sweep, space, objectives=objectives)
    except ConfigError as error:
        return error.message.splitlines()
    return []


def _check_grid(space: SearchSpace) -> None:
    for parameter in space.searched:
        parameter.all_values()  # endless ones complain
    if space.size is None:
        raise ConfigError(
            f"a grid of more than {space.LARGEST_GRID:,} combinations: sample it, with sweep=optuna."
        )
    if not space.size:
        raise ConfigError("no combination of the values fulfils sweep.constraints.")


def _grid(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from trainer.sweep.stores.combinations_sampler import CombinationsSampler

    _check_grid(space)
    build(WHERE, CombinationsSampler, sweep.sampler_options, combinations=())
    return CombinationsSampler(list(space.grid()))


def _tpe(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    options = sweep.sampler_options
    # Parameters that only some trials have are otherwise drawn one by one.
    group = space.conditional and objectives == 1 and options.get("multivariate") is not False
    return build(WHERE, TPESampler, options, seed=seed, **({"group": True} if group else {}))


def _random(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return build(WHERE, RandomSampler, sweep.sampler_options, seed=seed)


def _cmaes(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return build(WHERE, CmaEsSampler, sweep.sampler_options, seed=seed, warn_independent_sampling=False)


def _gp(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return build(WHERE, GPSampler, sweep.sampler_options, seed=seed, warn_independent_sampling=False)


def _nsgaii(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return build(WHERE, NSGAIISampler, sweep.sampler_options, seed=seed)


def _nsgaiii(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import NSGAIIISampler

    return build(WHERE, NSGAIIISampler, sweep.sampler_options, seed=seed)


def _qmc(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    from optuna.samplers import QMCSampler, RandomSampler

    # All drivers walk through one sequence, whose place is kept in the study; what is no number is drawn.
    return build(
        WHERE, QMCSampler, sweep.sampler_options, seed=sweep.seed, independent_sampler=RandomSampler(seed),
        warn_independent_sampling=False, warn_asynchronous_seeding=False,
    )  # fmt: skip


def _auto(sweep: Sweep, space: SearchSpace, objectives: int, seed: int) -> BaseSampler:
    import optunahub

    try:
        cls = optunahub.load_module("samplers/auto_sampler").AutoSampler
    except Exception as error:  # whatever a download and somebody else's module may raise
        raise ConfigError(
            f"sweep.sampler=auto: OptunaHub's AutoSampler can't be loaded ({' '.join(str(error).split())}); "
            "sweep.sampler=tpe needs no download."
        ) from None
    return build(WHERE, cls, sweep.sampler_options, seed=seed)


_PACKAGES = {
    "cmaes": {"cmaes": "cmaes"},
    "gp": {"torch": "torch", "scipy": "scipy"},
    "qmc": {"scipy": "scipy"},
    "auto": {"optunahub": "optunahub"},
}
_MAKERS: dict[str, Callable[[Sweep, Any, int, int], Any]] = {
    "grid": _grid,
    "tpe": _tpe,
    "random": _random,
    "cmaes": _cmaes,
    "gp": _gp,
    "nsgaii": _nsgaii,
    "nsgaiii": _nsgaiii,
    "qmc": _qmc,
    "auto": _auto,
}
