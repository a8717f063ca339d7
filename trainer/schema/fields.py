"""The fields of a configuration by dotted key, and whether a value fits one."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.core.errors import did_you_mean
from trainer.schema.choices import GROUPS, keys_of, owners

_WORDS = {"true", "false", "yes", "no", "on", "off"}


@dataclass(frozen=True)
class Field:
    """One field of a configuration.

    Attributes:
        key: the dotted key.
        metadata: what :func:`trainer.schema.typed_field` was given.
        owners: the choices of its group that take the key; empty when all do.
    """

    key: str
    type: Any
    default: Any
    metadata: typing.Mapping[str, Any]
    owners: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it takes; empty when they are not listed."""
        choices = self.metadata.get("choices") or ()
        return tuple(choices() if callable(choices) else choices)

    @property
    def is_choice(self) -> bool:
        """Whether it holds the name of a group's choice, which is set by choosing it."""
        return self.metadata.get("kind") == "choice"

    @property
    def is_mapping(self) -> bool:
        """Whether it is a free mapping, whose keys are for whoever uses it."""
        return bool(self.type == dict[str, Any])

    @property
    def optional(self) -> bool:
        """Whether it takes null."""
        return type(None) in typing.get_args(self.type) or self.type is Any

    def complaint(self, value: Any) -> str | None:
        """What is wrong with ``value``, as ``expected ..., got ...``, or None when it fits."""
        if value is None:
            return None if self.optional else f"expected {self.expected}, got null."
        if isinstance(value, str) and "${" in value:
            return None  # Looked at again when the configuration is composed.
        if choices := self.choices:
            hint = did_you_mean(value, choices) if isinstance(value, str) else ""
            several = isinstance(value, (list, tuple)) and self.metadata.get("kind") == "words"
            valid = bool(value) and all(part in choices for part in value) if several else value in choices
            return None if valid else f"expected {self.expected}, got {value!r}.{hint}"
        return None if self._fits(value) else f"expected {self.expected}, got {value!r}."

    @property
    def expected(self) -> str:
        """What the field takes, for messages."""
        if choices := self.choices:
            number = "one or several" if self.metadata.get("kind") == "words" else "one"
            return f"{number} of {', '.join(choices)}"
        kind = self.metadata.get("kind", "")
        form = _KINDS.get(kind) or _NAMES.get(self._plain, "a value")
        limits = [
            f"{sign} {self.metadata[name]:g}" for name, sign in _LIMITS.items() if name in self.metadata
        ]
        return f"{form} {' and '.join(limits)}".rstrip()

    @property
    def _plain(self) -> Any:
        """The type without its ``| None``."""
        parts = [part for part in typing.get_args(self.type) if part is not type(None)]
        is_union = typing.get_origin(self.type) in (types.UnionType, typing.Union)
        return parts[0] if is_union and len(parts) == 1 else self.type

    def _fits(self, value: Any) -> bool:
        if check := _CHECKS.get(self.metadata.get("kind", "")):
            if not check(value):
                return False
        elif not _is(value, self._plain):
            return False
        numbers = [v for v in (value if isinstance(value, (list, tuple)) else [value]) if _number(v)]
        return all(self._inside(number) for number in numbers)

    def _inside(self, number: float) -> bool:
        limits = self.metadata
        return (
            math.isfinite(number)
            and not ("ge" in limits and number < limits["ge"])
            and not ("gt" in limits and number <= limits["gt"])
            and not ("le" in limits and number > limits["le"])
        )


@functools.cache
def fields_of(schema: type) -> dict[str, Field]:
    """All fields of a schema by dotted key; a free mapping such as ``mm`` is one field.

    A group whose choices have classes of their own has the keys of all choices in this package.
    """
    fields: dict[str, Field] = {}
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            group = GROUPS.get(field.name)
            for part in [kind, *(group.classes.values() if group else ())]:
                for key, inner in fields_of(typing.cast(type, part)).items():
                    if key in keys_of(typing.cast(type, part)) or "." in key:
                        name = f"{field.name}.{key}"
                        belongs = owners(field.name, key) if group else inner.owners
                        fields.setdefault(name, dataclasses.replace(inner, key=name, owners=belongs))
        else:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            fields[field.name] = Field(field.name, kind, default, field.metadata)
    return fields


def fields_with(schema: type, classes: typing.Mapping[str, type]) -> dict[str, Field]:
    """As :func:`fields_of`, where ``classes`` gives the class of some groups, such as those of plug-ins."""
    fields = dict(fields_of(schema))
    for group, part in classes.items():
        for key, inner in fields_of(typing.cast(typing.Hashable, part)).items():
            if key in keys_of(part):
                name = f"{group}.{key}"
                known = fields.get(name)
                fields[name] = dataclasses.replace(inner, key=name, owners=known.owners if known else ())
    return fields


def fields_of_config(config: Any) -> dict[str, Field]:
    """The fields that a configuration has, with the classes that were chosen for it."""
    names = [field.name for field in dataclasses.fields(config) if field.name in GROUPS]
    schema: type = type(config)
    return _exact_fields(schema, tuple((name, type(getattr(config, name))) for name in names))


@functools.lru_cache(maxsize=64)
def _exact_fields(schema: type, classes: tuple[tuple[str, type], ...]) -> dict[str, Field]:
    keys = {group: keys_of(part) for group, part in classes}
    fields = fields_with(schema, dict(classes))
    return {
        key: field
        for key, field in fields.items()
        if (parts := key.partition("."))[0] not in keys or parts[2] in keys[parts[0]]
    }


def value_at(config: Any, key: str) -> Any:
    """The value at a dotted name of a dataclass."""
    return functools.reduce(getattr, key.split("."), config)


def is_fold(text: str) -> bool:
    """Whether ``text`` is ``i/k`` with i below k, k at least 2."""
    fold, slash, count = text.partition("/")
    return bool(
        slash and fold.isdecimal() and count.isdecimal() and int(count) >= 2 and int(fold) < int(count)
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is bool:
        return isinstance(value, bool) or str(value).lower() in _WORDS
    if kind is int:
        return _integer(value)
    if kind is float:
        return _number(value)
    if kind is str:
        return isinstance(value, str) or _number(value)
    if typing.get_origin(kind) is list:
        return isinstance(value, (list, tuple)) and all(_is(v, typing.get_args(kind)[0]) for v in value)
    return isinstance(value, typing.get_origin(kind) or kind)


def _numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(_number(v) for v in value)


def _size(value: Any) -> bool:
    sizes = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    return all(_integer(v) and v >= 1 for v in sizes)


_LIMITS = {"ge": ">=", "gt": ">", "le": "<="}
_NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a word",
    list[str]: "a list of words",
    list[float]: "a list of numbers",
    dict[str, Any]: "a mapping",
}
_KINDS = {
    "size": "a size in px, an integer >= 1 or [width, height]",
    "path": "a path",
    "pair": "two numbers, [a, b], each",
    "range": "two numbers, [smallest, largest], each",
    "ascending": "a list of ascending numbers, each",
    "freeze": "backbone, or an integer >= -1",
    "fold": "<fold>/<folds> with folds counted from 0, as in 0/5",
    "resume": "false, true, auto, or a run's id or folder",
    "workers": "auto, or an integer >= 1",
    "batch": "dynamic, or an integer >= 1",
    "switch": "true, false or auto",
}
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "size": _size,
    "path": lambda value: isinstance(value, str) or _number(value),
    "pair": lambda value: _numbers(value) and len(value) == 2,
    "range": lambda value: _numbers(value) and len(value) == 2 and value[0] <= value[1],
    "ascending": lambda value: _numbers(value) and list(value) == sorted(set(value)),
    "freeze": lambda value: value == "backbone" or (_integer(value) and value >= -1),
    "fold": lambda value: isinstance(value, str) and is_fold(value),
    "resume": lambda value: isinstance(value, (bool, str)) or _number(value),
    "workers": lambda value: value == "auto" or (_integer(value) and value >= 1),
    "batch": lambda value: value == "dynamic" or (_integer(value) and value >= 1),
    "switch": lambda value: isinstance(value, bool) or value == "auto",
}
