"""Typed words and the entries of ``sweep.params`` as parameters, each checked against the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from trainer.config.compose import compose_for_run, to_dataclass
from trainer.config.override_checks import check_overrides
from trainer.config.overrides import TypedOverride, parse_override
from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import fields_of, value_at
from trainer.sweep.space.conditions import read_condition, split_name
from trainer.sweep.space.grammar import parameter, word_of
from trainer.sweep.space.render import render
from trainer.sweep.space.space import Parameter
from trainer.zoo.model_names import ModelNames


class SpaceEntries:
    """Reads the words of one sweep.

    ``own`` are the words of the sweep itself (``sweep...``), ``fixed`` those that every trial gets, ``searched``
    those with several values; where a key is typed twice, the last word. Mistakes are collected in ``mistakes``.
    """

    def __init__(self, command: str, words: Sequence[str], conf: Conf) -> None:
        self.command, self.conf = command, conf
        self.groups = conf.groups_of(command)
        checked = check_overrides(command, words, conf, multirun=True)
        self.mistakes = list(checked.mistakes)
        last = {typed.key: typed for typed in checked.overrides}
        ours = [typed for typed in last.values() if not typed.override.is_hydra_override()]
        self.own = [typed for typed in ours if _is_own(typed)]
        self.mistakes += [
            f"{typed.text}: a sweep's own keys take one value." for typed in self.own if typed.is_sweep
        ]
        self.fixed = [typed for typed in ours if not typed.is_sweep and not _is_own(typed)]
        self.searched = [typed for typed in ours if typed.is_sweep and not _is_own(typed)]

    def parameters(self, params: Mapping[str, Any]) -> list[Parameter]:
        """What is searched: what is typed, then the entries of a file that nothing typed replaces."""
        found: list[Parameter] = []
        for typed in self.searched:
            try:
                found.append(parameter(typed, self._options, self.canonical))
            except ConfigError as error:
                self.mistakes.append(f"{typed.text}: {error.message}")
        taken = {typed.key for typed in (*self.searched, *self.fixed)}
        for name, value in params.items():
            try:
                key, conditions = split_name(str(name))
                if key not in taken:
                    found.append(self._entry(key, value, conditions))
            except ConfigError as error:
                self.mistakes.append(f"sweep.params: {name}: {error.message}")
        return found

    def settings(self, searched: Iterable[Parameter]) -> list[Parameter]:
        """The fixed words that only some choices of a searched group look at, as constants: ``optimizer.momentum``
        beside ``optimizer=sgd,adamw``. They are no longer among ``fixed``."""
        groups = {one.key for one in searched} & set(self.groups)
        known = fields_of(COMMANDS[self.command])
        some = [
            typed
            for typed in self.fixed
            if typed.key in known and known[typed.key].owners and typed.key.partition(".")[0] in groups
        ]
        self.fixed = [typed for typed in self.fixed if typed not in some]
        return [parameter(typed, self._options, self.canonical) for typed in some]

    def canonical(self, key: str, value: Any) -> Any:
        """A group's choice as it is called in full; any other value as it is."""
        if key not in self.groups or value is None:
            return value
        task = [typed.text for typed in self.fixed if typed.key == "task" and key != "task"]
        checked = check_overrides(self.command, [*task, f"{key}={render(value)}"], self.conf)
        checked.raise_mistakes()
        return next(typed.value for typed in checked.overrides if typed.key == key)

    def base(self, key: str) -> Any:
        """The value that a key which isn't searched has in every trial, a group's choice for a group.

        Raises:
            ConfigError: there is no such key.
        """
        for typed in self.fixed:
            if typed.key == key:
                return typed.value
        known = fields_of(COMMANDS[self.command])
        if key in self.groups:
            return value_at(self._config, f"{key}.name") if f"{key}.name" in known else None
        if key.startswith("mm."):
            return None
        if key not in known:
            raise ConfigError(f"there is no key {key!r}.{did_you_mean(key, [*self.groups, *known])}")
        return value_at(self._config, key)

    def _entry(self, key: str, value: Any, conditions: Iterable[str]) -> Parameter:
        word = word_of(key, value)
        if _is_own(parse_override(word)):
            raise ConfigError("a sweep can't search its own keys.")
        checked = check_overrides(self.command, [word], self.conf, multirun=True)
        if checked.mistakes:
            raise ConfigError(checked.mistakes[0].removeprefix(f"{word}: "))
        found = parameter(parse_override(word), self._options, self.canonical)
        return replace(found, when=tuple(read_condition(text, self.canonical) for text in conditions))

    def _options(self, key: str) -> list[str] | None:
        """The choices of a group; of models those that can do the task, where one is told."""
        if key not in self.groups:
            return None
        names = list(self.groups[key])
        task = self._task if key == "model" else None
        models = ModelNames(self.conf)
        return [name for name in names if task is None or task in models.tasks(name)]

    @cached_property
    def _task(self) -> str | None:
        """The task that is typed, or that the experiment is about."""
        if any(typed.key in ("task", "experiment") for typed in self.fixed):
            return str(self._config.task.name)
        return None

    @cached_property
    def _config(self) -> Any:
        """What the fixed words alone compose to; keys that don't go together are not its business."""
        checked = check_overrides(self.command, [typed.text for typed in self.fixed], self.conf)
        tree = compose_for_run(self.command, checked, self.conf)
        config = to_dataclass(tree, checked.mistakes) if tree is not None else None
        if config is None:
            raise ConfigError(checked.mistakes[-1])
        return config


def _is_own(typed: TypedOverride) -> bool:
    return typed.key == "sweep" or typed.key.startswith("sweep.")
