"""A search space: parameters with the conditions under which each applies."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from trainer.core.errors import ConfigError
from trainer.core.secrets import masked_words
from trainer.sweep.space.constraints import Constraint
from trainer.sweep.space.render import render, same

if TYPE_CHECKING:
    from optuna.trial import Trial

# What a trial was given: parameters' names to values, those that apply.
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """Holds where another searched key has one of some values."""

    key: str
    values: tuple[Any, ...]

    def holds(self, active: Mapping[str, Any]) -> bool:
        """``active``: the values of the keys that apply so far."""
        return self.key in active and any(same(active[self.key], value) for value in self.values)

    def __str__(self) -> str:
        return f"{self.key}={','.join(map(render, self.values))}"


@dataclass(frozen=True)
class Parameter:
    """One key that is searched, or (kind ``constant``) set where its conditions hold.

    ``name`` is Optuna's name: the key, and its condition where several parameters have one key. ``choices`` are
    what Optuna can store (None, bool, int, float, str), ``texts`` what is typed for each. ``low`` and ``high``
    are both included.
    """

    name: str
    key: str
    kind: str  # categorical, int, float, constant
    choices: tuple[Any, ...] = ()
    texts: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    order: str = "typed"  # of a grid: typed, reversed, shuffled
    when: tuple[Condition, ...] = ()

    @property
    def continuous(self) -> bool:
        return self.kind == "float" and self.step is None

    @property
    def first(self) -> Any:
        """One of its values."""
        return self.choices[0] if self.choices else self.exact(self.low)

    def applies(self, active: Mapping[str, Any]) -> bool:
        return all(condition.holds(active) for condition in self.when)

    def suggest(self, trial: Trial) -> Any:
        if self.kind == "categorical":
            return trial.suggest_categorical(self.name, self.choices)
        if self.kind == "int":
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.name, low, high, step=step, log=self.log)
        value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return self.exact(value)

    def exact(self, value: Any) -> Any:
        """``value`` without the rounding of a sampler's arithmetic: 0.3, not 0.30000000000000004."""
        if self.kind == "int":
            return int(value)
        if self.kind != "float":
            return value
        if self.step is None:
            return float(value)
        steps = round((float(value) - self.low) / self.step)
        return float(Decimal(str(self.low)) + steps * Decimal(str(self.step)))

    def text(self, value: Any) -> str:
        """What is typed for a value."""
        if self.kind in ("categorical", "constant"):
            for choice, text in zip(self.choices, self.texts, strict=True):
                if same(choice, value):
                    return text
        return render(self.exact(value))

    def all_values(self, seed: int = 0) -> list[Any]:
        """Every value, in the order of a grid. Raises :class:`ConfigError` where they are endless."""
        if self.continuous:
            raise ConfigError(
                f"{self.key}=interval({self.low:g},{self.high:g}): a grid can't try every value; "
                f"write {self.key}=range(start,stop,step) or some values, or sample it with sweep=optuna."
            )
        values: list[Any] = list(self.choices)
        if self.kind in ("int", "float"):
            step = self.step or 1
            count = int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(step))) + 1
            if count > SearchSpace.LARGEST_GRID:
                raise ConfigError(f"{self.key}: {count:,} values are too many for a grid.")
            values = [self.exact(self.low + number * step) for number in range(count)]
        if self.order == "reversed":
            values.reverse()
        elif self.order == "shuffled":
            random.Random(f"{seed} {self.name}").shuffle(values)
        return values

    def describe(self) -> dict[str, Any]:
        """JSON that is equal for equal parameters."""
        told: dict[str, Any] = {"name": self.name, "key": self.key, "kind": self.kind}
        if self.kind in ("int", "float"):
            told |= {"low": self.low, "high": self.high, "step": self.step, "log": self.log}
        else:
            told |= {"choices": masked_words([f"{self.key}={text}" for text in self.texts])}
        if self.when:
            told["when"] = [str(condition) for condition in self.when]
        return told


@dataclass(frozen=True)
class SearchSpace:
    """What a sweep searches. A parameter comes after those that its conditions are about."""

    LARGEST_GRID: ClassVar[int] = 100_000  # more would not end anyway

    fixed: tuple[str, ...] = ()  # words that every trial gets
    parameters: tuple[Parameter, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    seed: int = 0  # of shuffled values

    def words(self, values: Values) -> list[str]:
        """What a trial with these values types: the fixed words and ``key=value`` of each parameter that
        applies, quoted so that Hydra reads the value back unchanged."""
        return [*self.fixed, *self.varied(values)]

    def varied(self, values: Values) -> list[str]:
        """The words of :meth:`words` that are not fixed."""
        found, active = [], self.figures(values)
        for parameter in self.parameters:
            if parameter.kind == "constant":
                if parameter.applies(active):
                    found.append(f"{parameter.key}={parameter.texts[0]}")
            elif parameter.name in values:
                found.append(f"{parameter.key}={parameter.text(values[parameter.name])}")
        return found

    def figures(self, values: Values) -> dict[str, Any]:
        """The values by key, as constraints name them."""
        return {
            parameter.key: parameter.exact(values[parameter.name])
            for parameter in self.parameters
            if parameter.name in values
        }

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask a trial for the value of each parameter, conditional ones where they apply."""
        values: dict[str, Any] = {}
        active: dict[str, Any] = {}
        for parameter in self.searched:
            if parameter.applies(active):
                values[parameter.name] = active[parameter.key] = parameter.suggest(trial)
        return values

    def refused(self, values: Values) -> list[str]:
        """The constraints that the values alone, before any training, don't fulfil."""
        figures = self.figures(values)
        distances = ((constraint.text, constraint.violation(figures)) for constraint in self.constraints)
        return [text for text, distance in distances if distance is not None and distance > 0]

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination once, the last parameter varying fastest, without those that a constraint refuses.

        Raises:
            ConfigError: the values of a parameter are endless.
        """
        for values in self.combinations(self.searched):
            if not self.refused(values):
                yield values

    def combinations(self, varied: Collection[Parameter]) -> Iterator[dict[str, Any]]:
        """Every combination of the values of some parameters, the others at their first one."""
        choices = {
            one.name: one.all_values(self.seed) if one in varied else [one.first] for one in self.searched
        }
        yield from _combinations(self.searched, choices, {}, {})

    @property
    def size(self) -> int | None:
        """How many combinations :meth:`grid` has; None where they are endless or more than ``LARGEST_GRID``."""
        if any(parameter.continuous for parameter in self.searched):
            return None
        count = 0
        try:
            for tried, values in enumerate(self.combinations(self.searched), 1):
                if tried > self.LARGEST_GRID:
                    return None
                count += not self.refused(values)
        except ConfigError:
            return None
        return count

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters without constants."""
        return tuple(parameter for parameter in self.parameters if parameter.kind != "constant")

    @property
    def conditional(self) -> bool:
        """Whether trials may have different parameters."""
        return any(parameter.when for parameter in self.searched)

    def describe(self) -> dict[str, Any]:
        """JSON that is equal for equal spaces, whatever the fixed words."""
        return {
            "parameters": [parameter.describe() for parameter in self.parameters],
            "constraints": [constraint.text for constraint in self.constraints],
        }


def _combinations(
    rest: Sequence[Parameter],
    choices: Mapping[str, list[Any]],
    values: dict[str, Any],
    active: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    if not rest:
        yield values
        return
    parameter, *others = rest
    if not parameter.applies(active):
        yield from _combinations(others, choices, values, active)
        return
    for value in choices[parameter.name]:
        more = {**values, parameter.name: value}, {**active, parameter.key: value}
        yield from _combinations(others, choices, *more)
