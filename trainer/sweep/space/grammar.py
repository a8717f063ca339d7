"""One searched word of Hydra's grammar as a parameter: choice, range, interval, glob; tag, shuffle, sort, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, RangeSweep
from hydra.core.override_parser.types import Sweep as HydraSweep

from trainer.config.overrides import TypedOverride, ends_of, plain, steps_of
from trainer.core.errors import ConfigError, did_you_mean
from trainer.sweep.space.render import render, same
from trainer.sweep.space.space import Parameter

# Names of a group that a glob chooses from; None where the key is no group.
Options = Callable[[str], Sequence[str] | None]


def parameter(typed: TypedOverride, options: Options, canonical: Callable[[str, Any], Any]) -> Parameter:
    """The parameter that a word searches; a word of one value is a constant.

    Args:
        options: the names that a glob over a group chooses from.
        canonical: a choice as it is called in full, from key and value (``RTMDet_S`` is ``rtmdet-s``).

    Raises:
        ConfigError: what is wrong, without the word itself.
    """
    key, sweep = typed.key, typed.override._value
    if isinstance(sweep, HydraSweep):
        _check_tags(sweep)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep)
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep)
    if isinstance(sweep, Glob):
        return _choices(key, _matching(key, sweep, options))
    if isinstance(sweep, ChoiceSweep):
        if sweep.tags:
            raise ConfigError("tags are for interval and range; choices have no order.")
        values = [canonical(key, plain(value)) for value in sweep.list]
        found = _choices(key, values)
        return replace(found, order="shuffled") if sweep.shuffle else found
    return replace(_choices(key, [canonical(key, typed.value)]), kind="constant")


def word_of(key: str, value: Any) -> str:
    """The word of an entry of ``sweep.params``.

    Args:
        value: text of the grammar, a list of choices, a mapping of ``choices``, or of ``low`` and ``high`` (both
            included) with ``step``, ``log`` and ``type: int``, or one value.

    Raises:
        ConfigError: a mapping is none of these.
    """
    if isinstance(value, str):
        return f"{key}={value}"
    if isinstance(value, list):
        if not value:
            raise ConfigError("an empty list gives no value.")
        texts = [render(item) for item in value]
        return f"{key}={','.join(texts)}" if len(texts) > 1 else f"{key}=choice({texts[0]})"
    if not isinstance(value, dict):
        return f"{key}={render(value)}"
    if unknown := [name for name in value if name not in _KEYS]:
        hint = did_you_mean(str(unknown[0]), _KEYS) or f" Keys: {', '.join(_KEYS)}."
        raise ConfigError(f"there is no key {unknown[0]!r} here.{hint}")
    if "choices" in value:
        if len(value) > 1 or not isinstance(value["choices"], list):
            raise ConfigError("expected choices: [a, b, ...] alone.")
        return word_of(key, value["choices"])
    return f"{key}={_bounds(value)}"


def _bounds(value: dict[str, Any]) -> str:
    low, high, step = value.get("low"), value.get("high"), value.get("step")
    numbers = [number for number in (low, high, step) if number is not None]
    if low is None or high is None or not all(_is_number(number) for number in numbers):
        raise ConfigError(
            "expected choices, or low and high (numbers) with step, log and type: int or float."
        )
    kind = value.get("type") or ("int" if all(isinstance(number, int) for number in numbers) else "float")
    if kind not in ("int", "float"):
        raise ConfigError(f"type: expected int or float, got {kind!r}.")
    if not isinstance(value.get("log", False), bool):
        raise ConfigError("log: expected true or false.")
    if step is None:
        text = f"interval({render(low)},{render(high)})"
        text = f"int({text})" if kind == "int" else text
    elif step <= 0:
        raise ConfigError(f"step: expected a number > 0, got {step}.")
    else:
        # Half a step further, since a range ends before its stop.
        stop = high + (1 if isinstance(step, int) and isinstance(high, int) else step / 2)
        text = f"range({render(low)},{render(stop)},{render(step)})"
    return f"tag(log,{text})" if value.get("log") else text


def _range(key: str, sweep: RangeSweep) -> Parameter:
    steps = steps_of(sweep)
    if not steps:
        raise ConfigError("gives no value: a range ends before its stop.")
    first, last, log = steps[0], steps[len(steps) - 1], "log" in sweep.tags
    step = abs(int(steps.step) if steps.whole else float(steps.step))
    if not steps.whole and "int" in sweep.tags:
        raise ConfigError("tag(int, ...) needs whole numbers.")
    if log and not (steps.whole and step == 1):
        raise ConfigError("tag(log, ...) goes with interval, or a range of whole numbers in steps of 1.")
    low, high = min(first, last), max(first, last)
    _check_log(log, low)
    order = "shuffled" if sweep.shuffle else "reversed" if first > last else "typed"
    kind = "int" if steps.whole else "float"
    return Parameter(key, key, kind, low=low, high=high, step=step, log=log, order=order)


def _interval(key: str, sweep: IntervalSweep) -> Parameter:
    low, high = ends_of(sweep)
    whole = isinstance(low, int) and isinstance(high, int)
    if "int" in sweep.tags and not whole:
        raise ConfigError("tag(int, ...) needs whole numbers.")
    if low > high:
        raise ConfigError(f"the smaller end comes first: interval({high:g},{low:g}).")
    log = "log" in sweep.tags
    _check_log(log, low)
    kind, step = ("int", 1) if whole else ("float", None)
    return Parameter(key, key, kind, low=low, high=high, step=step, log=log)


def _choices(key: str, values: Sequence[Any]) -> Parameter:
    """A categorical parameter. What Optuna can't store, lists and mappings, it knows by their text."""
    texts = tuple(map(render, values))
    simple = (type(None), bool, int, float, str)
    choices = tuple(
        value if isinstance(value, simple) else text for value, text in zip(values, texts, strict=True)
    )
    for number, choice in enumerate(choices):
        if any(same(choice, earlier) for earlier in choices[:number]):
            raise ConfigError(f"{texts[number]} is given twice.")
    if any(one == other and not same(one, other) for one in choices for other in choices):
        raise ConfigError("true and 1, false and 0 can't be told apart in one choice.")
    return Parameter(key, key, "categorical", choices, texts)


def _matching(key: str, sweep: Glob, options: Options) -> list[str]:
    names = options(key)
    if names is None:
        raise ConfigError("glob(...) chooses from a group, and this is a key.")
    matching = sweep.filter(list(names))
    if not matching:
        raise ConfigError(
            f"none matches.{did_you_mean(sweep.include[0], names)} Choices: {', '.join(names)}."
        )
    return matching


def _check_tags(sweep: HydraSweep) -> None:
    for tag in sorted(sweep.tags):
        if tag not in ("log", "int"):
            raise ConfigError(f"there is no tag {tag!r}.{did_you_mean(tag, ('log', 'int'))} Tags: log, int.")


def _check_log(log: bool, low: float) -> None:
    if log and low <= 0:
        raise ConfigError(f"tag(log, ...) needs numbers > 0, got {low:g}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_KEYS = ("choices", "low", "high", "step", "log", "type")
