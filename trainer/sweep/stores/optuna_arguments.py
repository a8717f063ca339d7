"""Arguments of Optuna's classes as they are typed: checked against the constructor's signature."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from trainer.core.errors import ConfigError, did_you_mean


def build(where: str, cls: Callable[..., Any], options: Mapping[str, Any], **given: Any) -> Any:
    """``cls(**given, **options)``.

    Args:
        where: the key that the options are under, for messages.
        given: arguments that options needn't repeat and may replace.

    Raises:
        ConfigError: an option is none of the constructor's, lacks, or has the wrong type.
    """
    known = inspect.signature(cls).parameters
    typed = {name: annotation for name, one in known.items() if (annotation := _plain(one)) is not None}
    mistakes = []
    for name, value in options.items():
        if name not in typed:
            hint = did_you_mean(name, typed) or f" It takes {', '.join(typed) or 'none'}."
            mistakes.append(f"{where}.{name}: {cls.__name__} has no such option.{hint}")
        elif not _fits(value, typed[name]):
            mistakes.append(f"{where}.{name}: expected {' or '.join(sorted(typed[name]))}, got {value!r}.")
    arguments = {**given, **options}
    mistakes += [
        f"{where}.{name} is missing: {cls.__name__} needs it."
        for name, one in known.items()
        if one.default is one.empty and name not in arguments
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an option is experimental, or will be gone in Optuna 6
        try:
            return cls(**arguments)
        except (TypeError, ValueError, ImportError) as error:
            raise ConfigError(f"{where}: {cls.__name__}: {' '.join(str(error).split())}") from None


def need(key: str, packages: Mapping[str, str]) -> None:
    """Raise a :class:`ConfigError` unless the packages (name of the module to what pip calls it) are installed."""
    for module, package in packages.items():
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"{key} needs the package {package}: pip install {package}")


def _plain(parameter: inspect.Parameter) -> set[str] | None:
    """The types an argument takes, of those that can be typed; None where it takes none of these."""
    names = {part.strip(" '\"") for part in _annotation(parameter).split("|")}
    names = {name.partition("[")[0] for name in names}
    plain = names & set(_TYPES)
    return plain or None


def _annotation(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def _fits(value: Any, kinds: set[str]) -> bool:
    if isinstance(value, bool):
        return "bool" in kinds
    if value is None:
        return True
    allowed = tuple(kind for name in kinds for kind in _TYPES[name])
    return isinstance(value, allowed)


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "dict": (dict,),
}
