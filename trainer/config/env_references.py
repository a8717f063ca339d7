"""How a configuration was written: with ``${oc.env:NAME}`` where a value comes from the environment."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.core import secrets

_ENVIRONMENT = re.compile(r"\$\{oc\.env:(\w+)")


@dataclass(frozen=True)
class Origin:
    """What a configuration was composed from.

    Attributes:
        written: the configuration as plain values; ``${oc.env:NAME}`` is left as it was written.
        config_dirs: folders given by ``--config-dir``, absolute.
    """

    written: dict[str, Any]
    config_dirs: tuple[str, ...] = ()


def note(config: Any, raw: dict[str, Any], config_dirs: tuple[str, ...]) -> None:
    """Remember how ``config``, a dataclass, was written, and its secrets, so that they are masked from now on.

    Args:
        raw: the composed configuration with no interpolation resolved.
    """
    resolved = dataclasses.asdict(config)
    secrets.learn_secret(resolved)
    values: set[str] = set()
    for name in set(_variables(raw)):
        value = os.environ.get(name, "")
        secrets.learn_variable(name, value)
        values.add(value)
    vars(config)["_origin"] = Origin(_written(raw, resolved, values - {""}), config_dirs)


def origin(config: Any) -> Origin:
    """How ``config`` was written; its values where it wasn't composed."""
    return vars(config).get("_origin") or Origin(dataclasses.asdict(config))


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _variables(item)
    elif isinstance(value, list):
        for item in value:
            yield from _variables(item)
    elif isinstance(value, str) and "${" in value:
        yield from _ENVIRONMENT.findall(value)


def _written(raw: Any, resolved: Any, values: set[str]) -> Any:
    """``resolved``, but what holds a value of the environment as ``raw`` has it."""
    if isinstance(raw, dict) and isinstance(resolved, dict):
        return {key: _written(raw.get(key), item, values) for key, item in resolved.items()}
    if isinstance(raw, list) and isinstance(resolved, (list, tuple)):
        return [_written(one, item, values) for one, item in zip(raw, resolved, strict=True)]
    if isinstance(raw, str) and ("oc.env:" in raw or ("${" in raw and _holds(resolved, values))):
        return raw
    return resolved


def _holds(value: Any, variables: set[str]) -> bool:
    """Whether a value, which refers to another key, came from the environment by that way."""
    text = str(value)
    return any(text == one or (len(one) >= secrets.SHORTEST and one in text) for one in variables)
