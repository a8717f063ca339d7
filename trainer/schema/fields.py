"""The leaves of a schema by dotted name, and whether a value fits one."""

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

_WORDS = {"true", "false", "yes", "no", "on", "off"}


@dataclass(frozen=True)
class Field:
    """One typed leaf. ``metadata`` is what :func:`trainer.schema.typed_field` was told."""

    key: str
    type: Any
    default: Any
    metadata: typing.Mapping[str, Any]

    @property
    def optional(self) -> bool:
        return type(None) in typing.get_args(self.type) or self.type is Any

    def complaint(self, value: Any) -> str | None:
        """What is wrong with ``value``, as ``expected ..., got ...``, or None when it fits."""
        if value is None:
            return None if self.optional else f"expected {self.expected}, got null."
        if isinstance(value, str) and "${" in value:
            return None  # Looked at again when the configuration is composed.
        if choices := self.metadata.get("choices"):
            hint = did_you_mean(value, choices) if isinstance(value, str) else ""
            several = isinstance(value, (list, tuple)) and self.metadata.get("kind") == "words"
            good = bool(value) and all(one in choices for one in value) if several else value in choices
            return None if good else f"expected {self.expected}, got {value!r}.{hint}"
        return None if self._fits(value) else f"expected {self.expected}, got {value!r}."

    @property
    def expected(self) -> str:
        """What the leaf takes, in words."""
        if choices := self.metadata.get("choices"):
            some = "one or several" if self.metadata.get("kind") == "words" else "one"
            return f"{some} of {', '.join(choices)}"
        kind = self.metadata.get("kind", "")
        words = _KINDS.get(kind) or _NAMES.get(self._plain, "a value")
        limits = [
            f"{sign} {self.metadata[name]:g}" for name, sign in _LIMITS.items() if name in self.metadata
        ]
        return f"{words} {' and '.join(limits)}".rstrip()

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
    """All leaves of a schema by dotted name; a mapping such as ``mm`` is one leaf."""
    found: dict[str, Field] = {}
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            for key, leaf in fields_of(typing.cast(type, kind)).items():
                found[f"{field.name}.{key}"] = dataclasses.replace(leaf, key=f"{field.name}.{key}")
        else:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            found[field.name] = Field(field.name, kind, default, field.metadata)
    return found


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
