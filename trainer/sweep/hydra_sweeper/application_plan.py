"""What another Hydra application's sweep is: its options, its search space, its folder and name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from trainer.config.override_checks import list_mistakes
from trainer.config.overrides import TypedOverride, parse_override
from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import PRUNERS, SAMPLERS, Sweep
from trainer.sweep.folder import SweepFolder, sweep_name
from trainer.sweep.objectives import Objective
from trainer.sweep.space import Parameter, SearchSpace, SweepPlan
from trainer.sweep.space.conditions import read_condition, settle, split_name
from trainer.sweep.space.grammar import parameter, word_of
from trainer.sweep.stores.pruners import pruner_mistakes
from trainer.sweep.stores.samplers import sampler_mistakes

_MODES = {"minimize": "min", "maximize": "max"}
# What hydra.sweeper and sweep have under one name.
_SHARED_OPTIONS = (
    *("sampler", "sampler_options", "pruner", "pruner_options"),
    *("n_trials", "params", "storage", "seed", "lease_seconds"),
)


@dataclass(frozen=True)
class ApplicationPlan:
    """A checked sweep of a Hydra application.

    Attributes:
        plan: the sweep in our terms; its configuration is the application's.
        signs: by key, the ``+`` or ``++`` that its overrides need.
        folder: where the store and the results are, ``hydra.sweep.dir``.
        name: the study's name.
        n_jobs: trials in a batch.
    """

    plan: SweepPlan
    signs: Mapping[str, str]
    folder: SweepFolder
    name: str
    n_jobs: int
    max_failure_rate: float
    retries: int

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values."""
        varied = self.plan.space.varied(values)
        return [
            *self.plan.space.fixed,
            *(self.signs.get(text.partition("=")[0], "") + text for text in varied),
        ]


def plan_application(
    overrides: Sequence[str], options: Mapping[str, Any], config: DictConfig, loader: ConfigLoader
) -> ApplicationPlan:
    """Read and check a sweep.

    Args:
        overrides: the task's overrides as Hydra passes them, sweeps included.
        options: ``hydra.sweeper``.
        config: the application's composed configuration, with its ``hydra`` node.
        loader: knows the configuration's groups.

    Raises:
        ConfigError: with all mistakes.
    """
    given = {name: _plain(value) for name, value in options.items()}
    sweep = Sweep(name="openmmlab_trainer", **{name: given[name] for name in _SHARED_OPTIONS})
    objectives, mistakes = _read_objectives(given["direction"])
    for key, name, names in (("sampler", sweep.sampler, SAMPLERS), ("pruner", sweep.pruner, PRUNERS)):
        if name not in names:
            hint = did_you_mean(name, names) or f" Choices: {', '.join(names)}."
            mistakes.append(f"sweep.{key}: there is no {key} {name!r}.{hint}")
    if mistakes:
        raise ConfigError(_own_keys(list_mistakes(mistakes)))
    space, signs, mistakes = _read_space(overrides, sweep, config, loader)
    if not mistakes and not space.searched:
        mistakes.append("nothing is searched: give keys several values, 'lr=interval(1e-4,1e-1)'.")
    if not mistakes:
        mistakes = sampler_mistakes(sweep, space, len(objectives)) + pruner_mistakes(sweep, objectives)
    if mistakes:
        raise ConfigError(_own_keys(list_mistakes(mistakes)))
    application = str(config.hydra.job.name)
    searched = [f"{key}={value}" for key, value in sweep.params.items()]
    name = sweep_name(
        application, [*overrides, *searched], application, given["study_name"],
        per_call=(), study_key="hydra.sweeper.study_name",
    )  # fmt: skip
    plan = SweepPlan(f"hydra:{application}", sweep, space, objectives, config)
    return ApplicationPlan(
        plan, signs, SweepFolder(_sweep_dir(config, name)), name, int(given["n_jobs"]),
        float(given["max_failure_rate"]), int(given["retries"]),
    )  # fmt: skip


def _read_objectives(direction: Any) -> tuple[tuple[Objective, ...], list[str]]:
    directions = direction if isinstance(direction, list) else [direction]
    wrong = [str(name) for name in directions if name not in _MODES]
    if wrong or not directions:
        return (), [
            f"sweep.direction: expected minimize or maximize, got {', '.join(wrong) or 'an empty list'}."
        ]
    if len(directions) == 1:
        return (Objective("value", _MODES[directions[0]]),), []
    return tuple(Objective(f"value_{place}", _MODES[name]) for place, name in enumerate(directions)), []


def _read_space(
    overrides: Sequence[str], sweep: Sweep, config: DictConfig, loader: ConfigLoader
) -> tuple[SearchSpace, dict[str, str], list[str]]:
    """The space, the signs of its keys, and what is wrong."""
    mistakes: list[str] = []
    typed = {override.key: override for override in map(parse_override, overrides)}
    fixed = [override for override in typed.values() if not override.is_sweep]
    entries = [(override, "") for override in typed.values() if override.is_sweep]
    conditions: dict[str, list[str]] = {}
    for name, value in sweep.params.items():
        try:
            key, conditions_of_name = split_name(str(name))
            override = parse_override(word_of(key, value))
            if override.key not in typed:
                entries.append((override, str(name)))
                conditions[str(name)] = conditions_of_name
        except ConfigError as error:
            mistakes.append(f"sweep.params: {name}: {error.message}")
    parameters: list[Parameter] = []
    signs: dict[str, str] = {}
    for override, name in entries:
        try:
            found = parameter(override, lambda key: loader.get_group_options(key) or None, _same)
            key = _key_with_package(override)
            when = tuple(read_condition(text, _same) for text in conditions.get(name, ()))
            parameters.append(replace(found, name=key, key=key, when=when))
            signs[key] = override.sign
        except ConfigError as error:
            mistakes.append(f"{name or override.text}: {error.message}")

    def base(key: str) -> Any:
        return _base_value(key, fixed, config)

    ordered, wrong = settle(parameters, base)
    texts = tuple(override.text for override in fixed)
    return SearchSpace(texts, tuple(ordered), seed=sweep.seed), signs, [*mistakes, *wrong]


def _base_value(key: str, fixed: Sequence[TypedOverride], config: DictConfig) -> Any:
    """The value that a key which isn't searched has in every trial."""
    for override in fixed:
        if override.key == key:
            return override.value
    choices = config.hydra.runtime.choices
    if key in choices:
        return choices[key]
    value = OmegaConf.select(config, key, default=_MISSING)
    if value is _MISSING:
        raise ConfigError(f"there is no key {key!r}.{did_you_mean(key, [str(name) for name in config])}")
    return value


def _sweep_dir(config: DictConfig, name: str) -> Path:
    """``hydra.sweep.dir``; where that has the time in it, as Hydra's default, ``multirun/<name>`` instead: the same
    command has to find its trials again."""
    folder = OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"]  # type: ignore[call-overload, index]
    if "${now:" in str(folder):
        return Path("multirun", name).absolute()
    return Path(str(config.hydra.sweep.dir)).absolute()


def _key_with_package(override: TypedOverride) -> str:
    return override.key if override.package is None else f"{override.key}@{override.package}"


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _same(key: str, value: Any) -> Any:
    return value


def _own_keys(message: str) -> str:
    """A message about ``sweep.sampler`` as one about ``hydra.sweeper.sampler``."""
    message = message.replace("sweep=openmmlab_trainer", "hydra/sweeper=openmmlab_trainer")
    return re.sub(r"(?<![\w.])sweep\.", "hydra.sweeper.", message)


_MISSING = object()
