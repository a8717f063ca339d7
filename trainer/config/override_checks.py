"""Check overrides before anything is composed: all mistakes, each with the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import IntervalSweep

from trainer.config.default_choices import class_of_choice, infer_choices, untyped_choice
from trainer.config.overrides import TypedOverride, parse_override
from trainer.core.errors import ConfigError, did_you_mean, fold, nearest
from trainer.schema import COMMANDS
from trainer.schema.choices import GROUPS
from trainer.schema.conf_folders import Conf
from trainer.schema.experiment_file import GROUP, choice_of
from trainer.schema.fields import Field, fields_of, fields_with
from trainer.zoo.model_names import ModelNames


@dataclass
class CheckedOverrides:
    """The valid overrides, ready for Hydra, and what is wrong with the rest."""

    overrides: list[TypedOverride] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    typed_keys: set[str] = field(default_factory=set)

    def raise_mistakes(self) -> None:
        """Raise one :class:`ConfigError` with all mistakes, if there are any."""
        if self.mistakes:
            raise ConfigError(list_mistakes(self.mistakes))


def check_overrides(
    command: str, overrides: Sequence[str], conf: Conf, *, multirun: bool = False
) -> CheckedOverrides:
    """Check each override by itself, a sweep value by value; sweeps need ``multirun``."""
    return _Check(command, conf, multirun).run(overrides)


def list_mistakes(mistakes: Iterable[str]) -> str:
    """One message for all mistakes, numbered when there are several."""
    different = list(dict.fromkeys(mistakes))
    if len(different) == 1:
        return different[0]
    lines = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(different, 1))
    return f"{len(different)} mistakes in the configuration:\n{lines}"


class _Check:
    def __init__(self, command: str, conf: Conf, multirun: bool) -> None:
        self.command = command
        self.conf = conf
        self.multirun = multirun
        self.groups = conf.groups_of(command)
        self.fields = fields_of(COMMANDS[command])
        self.models = ModelNames(conf)
        self.result = CheckedOverrides()
        self.chosen: dict[str, str] = {}

    def run(self, overrides: Sequence[str]) -> CheckedOverrides:
        wrong: dict[int, str] = {}
        parsed: dict[int, TypedOverride] = {}
        for place, text in enumerate(overrides):
            try:
                parsed[place] = parse_override(text)
            except ConfigError as error:
                wrong[place] = error.message
        self._add_plugin_keys(parsed.values())
        # The task first: it decides between models of one name.
        for place, typed in sorted(parsed.items(), key=lambda item: item[1].key != "task"):
            if mistake := self._override(typed):
                wrong[place] = f"{typed.text}: {mistake}"
        self.result.mistakes = [wrong[place] for place in sorted(wrong)]
        if self.groups and not self.multirun:
            self._complete_choices()
        return self.result

    def _add_plugin_keys(self, overrides: Iterable[TypedOverride]) -> None:
        """Add the keys of chosen classes that aren't among this package's."""
        typed = {override.key: override for override in overrides}
        for group in (name for name in GROUPS if any(key.startswith(f"{name}.") for key in typed)):
            if group in typed and not typed[group].sign and typed[group].package is None:
                names = [str(value) for value in typed[group].values()]
            else:
                experiment = typed.get(GROUP)
                recipe = str(experiment.value) if experiment and not experiment.is_sweep else None
                names = [untyped_choice(self.conf, group, choice_of(recipe) or recipe if recipe else None)]
            for name in names:
                chosen = class_of_choice(self.conf, group, name)
                if chosen not in (GROUPS[group].base, *GROUPS[group].classes.values()):
                    self.fields = {**fields_with(COMMANDS[self.command], {group: chosen}), **self.fields}

    def _override(self, typed: TypedOverride) -> str | None:
        """The mistake in an override; one without is added to the result."""
        if typed.is_sweep and not self.multirun and self._takes_words(typed.key):
            typed = TypedOverride(
                typed.text, parse_override(f"{typed.key}=[{typed.text.partition('=')[2]}]").override
            )
        if typed.is_sweep and not self.multirun:
            return "several values: add -m to try each of them, or write [a,b] for one list."
        if typed.override.is_hydra_override():
            self.result.overrides.append(typed)
            return None
        if typed.key in self.groups:
            return self._choice(typed)
        if typed.key == "mm" or typed.key.startswith("mm."):
            return self._framework(typed)
        return self._key(typed)

    def _choice(self, typed: TypedOverride) -> str | None:
        group = typed.key
        if typed.package is not None:
            return f"a group keeps its place here; write {group}=..."
        if typed.sign == "~":
            off = next((name for name in ("none", "default") if name in self.groups[group]), None)
            return f"a group can't be removed{f'; write {group}={off}.' if off else '.'}"
        if typed.sign:
            return f"{group} exists already; write {typed.text.lstrip('+')}"
        if group in self.chosen:
            return f"{group} is chosen twice."
        choices = []
        for value in typed.values():
            try:
                choices.append(self._resolve(group, value))
            except ConfigError as error:
                return error.message
        self.result.typed_keys.add(group)
        if not typed.is_sweep:
            self.chosen[group] = choices[0]
            typed = parse_override(f"{group}={choices[0]}")
        self.result.overrides.append(typed)
        return None

    def _resolve(self, group: str, value: Any) -> str:
        """The choice that a typed value means; :class:`ConfigError` with the nearest."""
        if value is None and group == "experiment":
            return "null"
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise ConfigError(f"expected the name of one {group}, got {value!r}.")
        word = str(value)
        if group == "model":
            return self.models.resolve(word, self.chosen.get("task"))
        if group == GROUP and (choice := choice_of(word)):
            return choice
        choices = self.groups[group]
        for choice in choices:
            if fold(choice) == fold(word):
                return choice
        raise ConfigError(
            f"there is no {group} {word!r}.{did_you_mean(word, choices)} Choices: {', '.join(choices)}."
        )

    def _framework(self, typed: TypedOverride) -> str | None:
        """``mm.*`` reaches any key of MMEngine's configuration, so that no ``+`` is needed."""
        if self.command not in ("train", "show", "check"):
            return f"{self.command} takes its configuration from the checkpoint; there is no mm here."
        if typed.key == "mm" and not all(isinstance(value, dict) for value in typed.values()):
            return "expected a mapping, as in mm.model.backbone.depth=18."
        if typed.sign != "~" and not typed.is_sweep:
            typed = TypedOverride(typed.text, parse_override(f"++{typed.text.lstrip('+')}").override)
        self.result.typed_keys.add(typed.key)
        self.result.overrides.append(typed)
        return None

    def _key(self, typed: TypedOverride) -> str | None:
        key = typed.key
        field = self.fields.get(key)
        if field is None and typed.package is None and self._in_mapping(key):
            return self._option(typed)
        if field is None or typed.package is not None:
            return self._unknown(typed)
        if typed.sign == "~":
            return f"a key can't be removed{f'; write {key}=null.' if field.optional else '.'}"
        if typed.sign == "+":
            return f"{key} exists already; write {typed.text[1:]}"
        if field.is_choice:
            return f"the name follows the choice; write {typed.text.replace('.name=', '=')}"
        for value in typed.values():
            if complaint := field.complaint(value):
                return complaint + self._whole(typed, field)
        if field.is_mapping:
            return self._option(typed)
        self.result.typed_keys.add(key)
        self.result.overrides.append(typed)
        return None

    def _in_mapping(self, key: str) -> bool:
        """Whether a key lies in a free mapping: ``launcher.sbatch.reservation``."""
        parts = key.split(".")
        parents = (self.fields.get(".".join(parts[:count])) for count in range(1, len(parts)))
        return any(parent.is_mapping for parent in parents if parent is not None)

    def _takes_words(self, key: str) -> bool:
        """Whether ``a,b`` is one list: in commands that don't sweep, for keys that take several values."""
        field = self.fields.get(key)
        several = field is not None and (field.metadata.get("kind") == "words" or field.type == list[str])
        return several and not self.groups

    def _option(self, typed: TypedOverride) -> str | None:
        """A free mapping, or a key in one: whoever uses it knows which keys it has."""
        if typed.sign != "~" and not typed.is_sweep:
            typed = TypedOverride(typed.text, parse_override(f"++{typed.text.lstrip('+')}").override)
        self.result.typed_keys.add(typed.key)
        self.result.overrides.append(typed)
        return None

    def _whole(self, typed: TypedOverride, field: Field) -> str:
        """The hint how whole numbers are drawn from an interval."""
        sweep = typed.override.value()
        ends = (sweep.start or 0, sweep.end or 0) if isinstance(sweep, IntervalSweep) else ()
        if not ends or any(not float(end).is_integer() or field.complaint(int(end)) for end in ends):
            return ""
        return f" Whole numbers: int(interval({ends[0]:g},{ends[1]:g}))."

    def _unknown(self, typed: TypedOverride) -> str:
        key = typed.key
        if key in self.all_groups:
            return f"{self.command} has no group {key!r}; it takes {', '.join(self.fields)}."
        head = key.partition(".")[0]
        siblings = [other for other in self.fields if other.startswith(f"{head}.")]
        if siblings:
            names = {other.partition(".")[2]: other for other in siblings}
            near = [names[hit] for hit in nearest(key.partition(".")[2], names)]
            near = self._elsewhere(key) or near or self._similar(key)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else f" Keys: {', '.join(names)}."
            return f"there is no key {key!r}.{hint}"
        tops = [*self.groups, *(other for other in self.fields if "." not in other)]
        near = self._elsewhere(key) or nearest(head, tops) or self._similar(key)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        if not near and "model" in self.groups:
            hint = f" Groups: {', '.join(self.groups)}; any key of MMEngine's configuration is under mm."
        return f"there is no key {key!r}.{hint}"

    def _elsewhere(self, key: str) -> list[str]:
        """Keys of the same name in other groups: epochs -> runtime.epochs."""
        last = fold(key.rpartition(".")[2])
        return [other for other in self.fields if fold(other.rpartition(".")[2]) == last and other != key][:3]

    def _similar(self, key: str) -> list[str]:
        """Keys with the last part in their name (batch -> runtime.batch_size), else similar ones."""
        name = fold(key.rpartition(".")[2])
        keys_by_name: dict[str, list[str]] = {}
        for other in self.fields:
            keys_by_name.setdefault(fold(other.rpartition(".")[2]), []).append(other)
        same = [key for last, keys in keys_by_name.items() if name in last.split("-") for key in keys]
        # Stricter than for whole keys: many short names resemble each other.
        alike = difflib.get_close_matches(name, keys_by_name, n=2, cutoff=0.7)
        return (same or [key for last in alike for key in keys_by_name[last]])[:3]

    def _complete_choices(self) -> None:
        """Add task or model where only the other is typed, and the other form of warm-up where one is."""
        chosen = {group: choice for group, choice in self.chosen.items() if choice != "null"}
        extra = infer_choices(chosen, self.conf, self.models)
        self.result.overrides += [parse_override(f"{group}={choice}") for group, choice in extra.items()]
        warm_up = {"scheduler.warmup_iters", "scheduler.warmup_epochs"}
        if len(typed := warm_up & self.result.typed_keys) == 1:
            self.result.overrides.append(parse_override(f"{(warm_up - typed).pop()}=null"))

    @cached_property
    def all_groups(self) -> dict[str, list[str]]:
        """The groups of all commands."""
        return self.conf.groups
