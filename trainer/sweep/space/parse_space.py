"""From what was typed, and ``sweep.params`` of a file, to a checked search space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.compose import compose
from trainer.config.override_checks import list_mistakes
from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import METRICS, Experiment, Sweep
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import fields_of, value_at
from trainer.sweep.objectives import MEASURED, Objective, read_objectives
from trainer.sweep.space.combinations import compose_all
from trainer.sweep.space.conditions import settle
from trainer.sweep.space.constraints import Constraint, read_constraint
from trainer.sweep.space.entries import SpaceEntries
from trainer.sweep.space.space import SearchSpace
from trainer.sweep.stores.pruners import pruner_mistakes
from trainer.sweep.stores.samplers import sampler_mistakes

TRIALS = 20


@dataclass(frozen=True)
class SweepPlan:
    """All that a driver needs to know of a sweep before its first trial; everything in it is checked."""

    command: str
    sweep: Sweep
    space: SearchSpace
    objectives: tuple[Objective, ...]  # empty for commands without a task
    config: Any  # what a first trial composes to: an Experiment (Evaluate, ...), for output_dir, name, task, epochs

    @property
    def n_trials(self) -> int:
        """Trials in all: ``sweep.n_trials``, of a grid no more than it has combinations."""
        asked = self.sweep.n_trials
        if self.sweep.sampler == "grid":
            size = self.space.size
            return min(size, asked or size) if size is not None else asked or TRIALS
        return asked or TRIALS


def make_plan(command: str, words: Sequence[str], conf: Conf | None = None) -> SweepPlan:
    """Read and check a sweep: words, search space, objectives, constraints, sampler and pruner.

    Every value is checked against the schema, and the combinations of group choices are composed.

    Args:
        words: what was typed, ``sweep...`` words too.

    Raises:
        ConfigError: with all mistakes in one message.
    """
    conf = conf or Conf()
    entries = SpaceEntries(command, words, conf)
    sweep = _own_configuration(entries)
    space, configs, mistakes = _space(entries, sweep)
    objectives: tuple[Objective, ...] = ()
    if configs and isinstance(configs[0], Experiment):
        mistakes += _several_tasks(sweep, configs)
        try:
            objectives = read_objectives(sweep, configs[0].task)
        except ConfigError as error:
            mistakes += error.message.splitlines()
    if not mistakes and not space.searched and sweep.sampler != "grid":
        mistakes.append(
            "nothing is searched: give keys several values, optimizer.lr=interval(1e-4,1e-1), or take a ready space, "
            "sweep=lr_schedule."
        )
    mistakes += sampler_mistakes(sweep, space, max(1, len(objectives)))
    mistakes += pruner_mistakes(sweep, objectives)
    if mistakes:
        raise ConfigError(list_mistakes(mistakes))
    return SweepPlan(command, sweep, space, objectives, configs[0])


def read_space(
    words: Sequence[str], sweep: Sweep, *, command: str = "train", conf: Conf | None = None
) -> SearchSpace:
    """The search space of typed words and ``sweep.params``; what is typed wins.

    ``sweep...`` and ``hydra...`` words are left out of it: no trial gets them.

    Raises:
        ConfigError: with all mistakes in one message.
    """
    space, _, mistakes = _space(SpaceEntries(command, words, conf or Conf()), sweep)
    if mistakes:
        raise ConfigError(list_mistakes(mistakes))
    return space


def _own_configuration(entries: SpaceEntries) -> Sweep:
    """``sweep`` as its words and the experiment's file have it."""
    if "sweep" not in entries.groups:
        return Sweep()
    words = [typed.text for typed in entries.own if not typed.is_sweep]
    recipe = next((typed for typed in entries.fixed if typed.key == "experiment"), None)
    if recipe is not None:
        words.append(recipe.text)
    try:
        sweep: Sweep = compose(entries.command, words, conf=entries.conf, runnable=False)[0].sweep
    except ConfigError as error:
        entries.mistakes.append(error.message)
        return Sweep()
    return sweep


def _space(entries: SpaceEntries, sweep: Sweep) -> tuple[SearchSpace, list[Any], list[str]]:
    """The space of all that is right, what its trials compose to, and all mistakes."""
    found = entries.parameters(sweep.params)
    always = [one for one in found if one.kind == "constant" and not one.when]
    found += entries.settings(found)
    fixed = [typed.text for typed in entries.fixed] + [f"{one.key}={one.texts[0]}" for one in always]
    settings = {one.key: one.choices[0] for one in always}
    mistakes = entries.mistakes

    def base(key: str) -> Any:
        return settings[key] if key in settings else entries.base(key)

    parameters, wrong = settle(
        [one for one in found if one not in always], base, entries.command, entries.conf
    )
    mistakes += wrong
    bare = SearchSpace(tuple(fixed), tuple(parameters), seed=sweep.seed)
    configs, wrong = compose_all(entries.command, bare, entries.conf)
    if not configs and not wrong:
        wrong = ["no combination of the values is left."]
    constraints: list[Constraint] = []
    if configs and isinstance(configs[0], Experiment):
        for text in sweep.constraints:
            try:
                constraints.append(_constraint(text, bare, configs[0]))
            except ConfigError as error:
                mistakes.append(f"sweep.constraints: {error.message}")
    space = SearchSpace(bare.fixed, bare.parameters, tuple(constraints), sweep.seed)
    return space, configs, [*mistakes, *wrong]


def _constraint(text: str, space: SearchSpace, config: Any) -> Constraint:
    """A constraint whose names are all known; what isn't searched is replaced by its value."""
    constraint = read_constraint(text)
    known = {parameter.key for parameter in space.searched}
    figures = {*known, *METRICS[config.task.name], *MEASURED}
    settled = {}
    for name in sorted(constraint.names - figures):
        if name not in fields_of(Experiment):
            raise ConfigError(f"{text!r}: there is no figure {name!r}.{did_you_mean(name, figures)}")
        settled[name] = _number(name, text, config)
    return constraint.bound(settled)


def _number(name: str, text: str, config: Any) -> float:
    value = value_at(config, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{text!r}: {name} is not searched and has no number of its own.")
    return float(value)


def _several_tasks(sweep: Sweep, configs: Sequence[Any]) -> Iterator[str]:
    tasks = list(dict.fromkeys(config.task.name for config in configs))
    if len(tasks) > 1 and sweep.sampler != "grid":
        yield f"trials of {' and '.join(tasks)} can't be compared; add task={' or task='.join(tasks)}."
