"""Where a parameter applies: ``optimizer.momentum if optimizer=sgd``, and what follows from the schema itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from trainer.config.default_choices import class_of_choice
from trainer.config.overrides import parse_override
from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import COMMANDS
from trainer.schema.choices import keys_of
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import fields_of
from trainer.sweep.space.render import render, same
from trainer.sweep.space.space import Condition, Parameter


def split_name(name: str) -> tuple[str, list[str]]:
    """Key and conditions of an entry's name, ``key if a=x and b=y,z``.

    Raises:
        ConfigError: it has another form.
    """
    key, found, rest = name.strip().partition(" if ")
    conditions = [part.strip() for part in re.split(r"\s+and\s+", rest)] if found else []
    if not re.fullmatch(r"[^\s=]+", key) or any("=" not in part for part in conditions):
        raise ConfigError("expected key, or 'key if other=value', 'key if other=a,b and another=c'.")
    return key, conditions


def read_condition(text: str, canonical: Callable[[str, Any], Any]) -> Condition:
    """The condition ``key=value`` or ``key=value,value``."""
    typed = parse_override(text)
    return Condition(typed.key, tuple(canonical(typed.key, value) for value in typed.values()))


def settle(
    parameters: Iterable[Parameter],
    fixed: Callable[[str], Any],
    command: str | None = None,
    conf: Conf | None = None,
) -> tuple[list[Parameter], list[str]]:
    """Parameters in the order in which they can be decided, and what is wrong with their conditions.

    A condition on a key that isn't searched is decided here, once for all. A key that only some of the searched
    choices of its group look at (``optimizer.momentum``) applies with those alone, without being told.

    Args:
        fixed: the value that a key has in every trial; :class:`ConfigError` where there is no such key.
        command: of ours, whose schema says which keys are for some choices only; None: another application's.
    """
    mistakes: list[str] = []
    kept: list[Parameter] = []
    given = list(parameters)
    for parameter in given:
        try:
            decided = _decide(parameter, given, fixed)
            if decided is not None:
                if command is not None and conf is not None:
                    decided = _with_variants(decided, given, command, conf)
                kept.append(decided)
        except ConfigError as error:
            mistakes.append(f"{parameter.name}: {error.message}")
    named = _named(kept, mistakes)
    return _ordered(named, mistakes), mistakes


def _decide(
    parameter: Parameter, searched: Sequence[Parameter], fixed: Callable[[str], Any]
) -> Parameter | None:
    """Without conditions on fixed keys; None where one of those doesn't hold."""
    kept = []
    for condition in parameter.when:
        if condition.key == parameter.key:
            raise ConfigError("a key can't depend on itself.")
        parents = [other for other in searched if other.key == condition.key]
        if parents:
            for value in condition.values:
                if not any(_can_be(parent, value) for parent in parents):
                    raise ConfigError(f"{condition.key} is never {render(value)}.{_hint(parents, value)}")
            kept.append(condition)
        elif not any(same(fixed(condition.key), value) for value in condition.values):
            return None
    return replace(parameter, when=tuple(kept))


def _with_variants(
    parameter: Parameter, searched: Sequence[Parameter], command: str, conf: Conf
) -> Parameter:
    """With the condition that the schema has: some keys are for some choices of their group only."""
    leaf = fields_of(COMMANDS[command]).get(parameter.key)
    group = parameter.key.partition(".")[0]
    if leaf is None or not leaf.owners or group in {one.key for one in parameter.when}:
        return parameter
    choices = [
        choice for other in searched if other.key == group and not other.when for choice in other.choices
    ]
    name = parameter.key.partition(".")[2]
    using = tuple(choice for choice in choices if name in keys_of(class_of_choice(conf, group, str(choice))))
    if choices and not using:
        raise ConfigError(f"none of {group}={','.join(map(str, choices))} looks at it.")
    if len(using) == len(choices):
        return parameter
    return replace(parameter, when=(*parameter.when, Condition(group, using)))


def _named(parameters: Sequence[Parameter], mistakes: list[str]) -> list[Parameter]:
    """Names that are different where keys are not; two of one key must exclude each other."""
    for one, other in combinations(parameters, 2):
        if one.key == other.key and not _exclude(one, other):
            mistakes.append(f"{one.key}: is searched twice, and nothing says which of both applies.")
    keys = [parameter.key for parameter in parameters]
    return [
        replace(one, name=f"{one.key} if {' and '.join(map(str, one.when))}")
        if keys.count(one.key) > 1 and one.when
        else one
        for one in parameters
    ]


def _exclude(one: Parameter, other: Parameter) -> bool:
    return any(
        mine.key == theirs.key and not any(same(a, b) for a in mine.values for b in theirs.values)
        for mine in one.when
        for theirs in other.when
    )


def _ordered(parameters: list[Parameter], mistakes: list[str]) -> list[Parameter]:
    """Those that others depend on first, otherwise as given."""
    waiting = list(parameters)
    done: list[Parameter] = []
    while waiting:
        blocked = {parameter.key for parameter in waiting}
        ready = [one for one in waiting if not any(condition.key in blocked for condition in one.when)]
        if not ready:
            mistakes.append(f"{', '.join(sorted(blocked))}: their conditions go round in a circle.")
            return done
        # One at a time: what is given first stays first.
        done.append(ready[0])
        waiting.remove(ready[0])
    return done


def _can_be(parameter: Parameter, value: Any) -> bool:
    if parameter.kind in ("categorical", "constant"):
        return any(same(choice, value) for choice in parameter.choices)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and parameter.low <= value <= parameter.high


def _hint(parents: Sequence[Parameter], value: Any) -> str:
    choices = [str(choice) for parent in parents for choice in parent.choices]
    return did_you_mean(str(value), choices) or (f" It takes {', '.join(choices)}." if choices else "")
