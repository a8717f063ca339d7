"""What was typed: each override parsed by Hydra's grammar, or the mistake in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from trainer.core.errors import ConfigError


@dataclass(frozen=True)
class TypedOverride:
    """One override as it was typed."""

    text: str
    override: Override

    @property
    def key(self) -> str:
        return str(self.override.key_or_group)

    @property
    def package(self) -> str | None:
        return self.override.package

    @property
    def sign(self) -> str:
        """``+``, ``++``, ``~`` or nothing."""
        return self.text[: len(self.text) - len(self.text.lstrip("+~"))]

    @property
    def is_sweep(self) -> bool:
        return self.override.is_sweep_override()

    @property
    def value(self) -> Any:
        """The value of an override that is no sweep."""
        return plain(self.override.value())

    def values(self) -> list[Any]:
        """The values it gives: one, or those of a sweep; of an interval or a long range its ends and one between."""
        value = self.override._value
        if isinstance(value, ChoiceSweep):
            return [plain(item) for item in value.list]
        if isinstance(value, RangeSweep):
            steps = steps_of(value)
            shown = range(len(steps)) if len(steps) <= _SHOWN else (0, len(steps) // 2, len(steps) - 1)
            return [steps[number] for number in shown]
        if isinstance(value, IntervalSweep):
            low, high = ends_of(value)
            return [low, high] if isinstance(low, int) else [low, low + (high - low) * 0.382, high]
        return [] if isinstance(value, Glob) else [self.value]


@dataclass(frozen=True)
class Steps(Sequence[float]):
    """The values of a range, ``first + number * step``, in decimal arithmetic: 0.3, not 0.30000000000000004."""

    first: Decimal
    step: Decimal
    size: int
    whole: bool

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self.size:
            raise IndexError(number)
        value = self.first + number * self.step
        return int(value) if self.whole else float(value)


def steps_of(sweep: RangeSweep) -> Steps:
    """The values of ``range(start,stop,step)``: ``stop`` isn't one of them, as Hydra has it."""
    numbers = [number for number in (sweep.start, sweep.stop, sweep.step) if number is not None]
    first, stop, step = (Decimal(str(number)) for number in numbers)
    count = max(0, math.ceil((stop - first) / step))
    return Steps(first, step, count, all(isinstance(number, int) for number in numbers))


def ends_of(sweep: IntervalSweep) -> tuple[Any, Any]:
    """The ends of an interval, whole numbers for ``int(interval(..))`` and ``tag(int, interval(..))``."""
    ends = (sweep.start, sweep.end)
    whole = "int" in sweep.tags and all(float(end or 0).is_integer() for end in ends)
    return (int(ends[0] or 0), int(ends[1] or 0)) if whole else (ends[0], ends[1])


def parse_override(text: str) -> TypedOverride:
    """One override; :class:`ConfigError` says what is wrong with its form."""
    if not key_of(text) or ("=" not in text and not text.startswith("~")):
        raise ConfigError(f"{text}: expected key=value.")
    try:
        override = _parser().parse_overrides([text])[0]
    except HydraException as error:
        reason = str(error).split("\nSee https")[0].strip().replace("\n", " ")
        hint = " Quote a value with special characters: 'key=\"a, b\"'." if "=" in text else ""
        raise ConfigError(f"{text}: can't be read: {reason}.{hint}") from None
    if complaint := _endless(override._value):
        raise ConfigError(f"{text}: {complaint}")
    return TypedOverride(text, override)


def plain(value: Any) -> Any:
    """A parsed value in Python's own types."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def key_of(text: str) -> str:
    """The key of an override's text, without sign and package."""
    return text.partition("=")[0].lstrip("+~").partition("@")[0].strip()


def last_of_each(overrides: Iterable[str]) -> list[str]:
    """The overrides without those that a later one of the same key replaces."""
    kept: dict[str, str] = {}
    for text in overrides:
        kept.pop(key_of(text), None)
        kept[key_of(text)] = text
    return list(kept.values())


def _endless(value: Any) -> str | None:
    """What is wrong with the numbers of a range or an interval."""
    numbers: tuple[Any, ...] = ()
    if isinstance(value, RangeSweep):
        if not value.step:
            return "a range's step can't be 0."
        numbers = (value.start, value.stop, value.step)
    elif isinstance(value, IntervalSweep):
        numbers = (value.start, value.end)
    return None if all(map(math.isfinite, numbers)) else "its ends must be numbers."


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


_SHOWN = 1000  # values of a range that are looked at one by one
