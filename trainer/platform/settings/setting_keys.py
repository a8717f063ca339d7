"""Settings as the platform writes them, laid beside what the trainer calls them: one :class:`SettingKey` each.

A table of keys is read by :class:`Reader`: every setting becomes overrides, or is told as ignored with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.core.errors import did_you_mean, fold
from trainer.core.secrets import mask_text
from trainer.platform.settings.coercion import READ, TYPES, is_number, override, shown

Pair = tuple[str, Any]  # an override: its key, and its value as Python has it
NOTHING = object()


class IgnoredSetting(Exception):
    """A setting that changes nothing, and why."""


@dataclass(frozen=True)
class JobFacts:
    """What a translation may hang on.

    Attributes:
        task: our name of the task.
        backend: whether CONFIG is as the backend writes it, with constants that nobody chose.
        settings: the drawer that the setting lies in.
        chosen: the overrides so far.
    """

    task: str = "detection"
    backend: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)


Translate = Callable[[Any, JobFacts], Iterable[Pair]]


@dataclass(frozen=True)
class SettingKey:
    """One setting.

    Attributes:
        name: what the platform calls it.
        to: the override's key, or a function that gives overrides or raises :class:`IgnoredSetting`; None: always
            ignored.
        says: what it becomes, for the documentation, or why it is ignored; empty where ``to`` says it.
        type: see :data:`trainer.platform.settings.coercion.TYPES`.
        low, high: limits of a number, both allowed unless ``above``, which excludes the lower one.
        choices: the words that it may be, whatever their case.
        aliases: its other names.
        variables: environment variables that say the same and win.
        legacy: an environment variable that says the same where CONFIG doesn't.
        default: what holds without it; in the nested form this value says nothing.
        constant: a value that the backend writes though nobody chose it.
        sample: a value that does something, where none follows from the rest.
    """

    name: str
    to: str | Translate | None = None
    says: str = ""
    type: str = "any"
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    legacy: str = ""
    default: Any = NOTHING
    constant: Any = NOTHING
    sample: Any = NOTHING

    @property
    def meaning(self) -> str:
        """What the setting becomes, or why it is ignored."""
        return self.says or (f"`{self.to}`" if isinstance(self.to, str) else "")

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = TYPES[self.type]
        if self.low is not None and self.high is not None:
            return f"{words} from {self.low:g} to {self.high:g}" + (
                f", not {self.low:g}" if self.above else ""
            )
        if self.low is not None:
            return f"{words} {'above' if self.above else 'from'} {self.low:g}" + ("" if self.above else " on")
        return words

    def read(self, value: Any) -> Any:
        """``value`` as this setting's type. Raises ValueError."""
        read = READ[self.type](value)
        if self.choices:
            same = [choice for choice in self.choices if fold(choice) == fold(str(read))]
            if not same:
                raise ValueError
            return same[0]
        numbers = [one for one in (read if isinstance(read, list) else [read]) if is_number(one)]
        for number in numbers:
            if self.low is not None and (number <= self.low if self.above else number < self.low):
                raise ValueError
            if self.high is not None and number > self.high:
                raise ValueError
        return read

    def pairs(self, value: Any, facts: JobFacts) -> list[Pair]:
        """The overrides that a value becomes. Raises :class:`IgnoredSetting`."""
        if self.to is None:
            raise IgnoredSetting(self.says)
        return [(self.to, value)] if isinstance(self.to, str) else list(self.to(value, facts))


@dataclass(frozen=True)
class SettingRow:
    """What became of one variable or setting, for the table shown at the start."""

    source: str
    value: str
    outcome: str


@dataclass
class Reader:
    """Collects overrides from drawers of settings; of two that say the same, the one read first counts.

    Attributes:
        pairs: the overrides, by key.
        sources: which setting each of them comes from.
        rows: what became of each setting.
        ignored: ``<setting>: <why>`` of those that change nothing though somebody may have meant something.
        mistakes: what is wrong with settings.
    """

    facts: JobFacts = field(default_factory=JobFacts)
    pairs: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    rows: list[SettingRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def drawer(
        self,
        settings: Mapping[str, Any],
        tables: Sequence[Sequence[SettingKey]],
        source: str,
        skip: Iterable[str] = (),
    ) -> None:
        """Read all settings of an object; the first table that knows a name decides.

        Args:
            source: what the object is called in messages, such as ``CONFIG.basic``.
            skip: names that are read elsewhere.
        """
        names = by_name(tables)
        for name, value in settings.items():
            if name in skip:
                continue
            key = names.get(fold(name)) or names.get(fold(name.replace("@", "")))
            where = f"{source}.{name}"
            if value is None:
                continue  # as if it weren't there
            if key is None:
                self.ignore(
                    where, value, f"there is no such setting.{did_you_mean(name, _spellings(tables))}"
                )
            else:
                self.setting(key, value, where, settings)

    def setting(
        self, key: SettingKey, value: Any, source: str, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Read one setting."""
        if isinstance(value, str) and not value.strip():
            return
        facts = JobFacts(self.facts.task, self.facts.backend, settings or {}, self.pairs)
        if key.to is None:
            self.ignore(source, value, key.says)
            return
        try:
            read = key.read(value)
        except (ValueError, TypeError):
            hint = did_you_mean(str(value), key.choices) if key.choices else ""
            self.mistakes.append(f"{source}: expected {key.expected}, got {shown(value, source)}.{hint}")
            return
        if facts.backend and key.constant is not NOTHING and read == key.constant:
            self._row(source, value, "says nothing: the backend writes it when nobody chose")
            return
        try:
            pairs = key.pairs(read, facts)
        except IgnoredSetting as why:
            self.ignore(source, value, str(why))
            return
        self.take(pairs, source, value)

    def take(self, pairs: Iterable[Pair], source: str, value: Any) -> None:
        """Take overrides, except those that an earlier setting gave."""
        new, old = [], []
        for name, result in pairs:
            if name in self.pairs and self.pairs[name] != result:
                old.append(f"{self.sources[name]} counts for {name}")
            else:
                self.pairs[name] = result
                self.sources.setdefault(name, source)
                new.append(override(name, result))
        self._row(source, value, "; ".join([*new, *old]) or "read with its switch")

    def ignore(self, source: str, value: Any, why: str) -> None:
        """Note that a setting changes nothing."""
        self._row(source, value, f"ignored: {why}")
        self.ignored.append(f"{source}={shown(value, source)}: {why}")

    def change(self, name: str, value: Any) -> None:
        """Give an override another value."""
        old, self.pairs[name] = override(name, self.pairs[name]), value
        self.rows = [
            SettingRow(row.source, row.value, override(name, value)) if row.outcome == old else row
            for row in self.rows
        ]

    def drop(self, name: str, why: str) -> None:
        """Take an override back."""
        value = self.pairs.pop(name)
        source = self.sources.pop(name, name)
        self.rows = [row for row in self.rows if row.source != source]
        self.ignore(source, value, why)

    def _row(self, source: str, value: Any, outcome: str) -> None:
        self.rows.append(SettingRow(source, shown(value, source), mask_text(outcome)))


def by_name(tables: Sequence[Sequence[SettingKey]]) -> dict[str, SettingKey]:
    """All keys by their folded names and aliases, those of earlier tables first."""
    found: dict[str, SettingKey] = {}
    for table in tables:
        for key in table:
            for name in (key.name, *key.aliases):
                found.setdefault(fold(name), key)
    return found


def _spellings(tables: Sequence[Sequence[SettingKey]]) -> list[str]:
    return [name for table in tables for key in table for name in (key.name, *key.aliases)]
