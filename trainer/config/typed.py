"""What was typed: each override parsed by Hydra's grammar, or the mistake in it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import HydraException

from trainer.errors import ConfigError


@dataclass(frozen=True)
class Typed:
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
        """The values it gives: one, or those of a sweep (of a range: each)."""
        if not self.is_sweep:
            return [self.value]
        if isinstance(self.override._value, Glob) or not self.override.is_discrete_sweep():
            return []
        return [plain(value) for value in self.override.sweep_iterator()]


def parse(text: str) -> Typed:
    """One override; :class:`ConfigError` says what is wrong with its form."""
    if not key_of(text) or ("=" not in text and not text.startswith("~")):
        raise ConfigError(f"{text}: expected key=value.")
    try:
        override = _parser().parse_overrides([text])[0]
    except HydraException as error:
        reason = str(error).split("\nSee https")[0].strip().replace("\n", " ")
        hint = " Quote a value with special characters: 'key=\"a, b\"'." if "=" in text else ""
        raise ConfigError(f"{text}: can't be read: {reason}.{hint}") from None
    return Typed(text, override)


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


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
