"""Values of settings: read from JSON and from variables, written in Hydra's grammar, shown to people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from trainer.core.errors import fold
from trainer.core.secrets import mask_text, masked

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "a text",
    "size": "a size in px, a whole number or [width, height]",
    "pair": "two numbers",
    "numbers": "a list of numbers",
    "object": "an object",
    "list": "a list",
    "any": "a value",
}
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*")
_RESERVED = ("null", "true", "false", "nan", "inf")


class Raw(str):
    """A text that is in Hydra's grammar already."""


def override(key: str, value: Any) -> str:
    """``key=value`` in Hydra's grammar."""
    return f"{key}={written(value)}"


def written(value: Any) -> str:
    """A value in Hydra's grammar; texts that it would read as something else are quoted."""
    if isinstance(value, Raw):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{written(one)}" for name, one in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    # A backslash is itself unless a quote follows it.
    quoted = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", text)
    quoted = re.sub(r"\\+$", lambda found: found[0] * 2, quoted)
    return f"'{quoted}'"


def shown(value: Any, name: str = "") -> str:
    """A value for people's eyes: short, one line, secrets masked."""
    value = masked(value, name.rpartition(".")[2])
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(mask_text(text).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _int(value: Any) -> int:
    number = _float(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and fold(value) in _WORDS:
        return _WORDS[fold(value)]
    number = _float(value)  # a probability, in the words of YOLO
    if not 0 <= number <= 1:
        raise ValueError
    return number > 0


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError
    return str(value).strip()


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,;x()\[\]]+", value) if part]
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return list(value)


def _size(value: Any) -> int | list[int]:
    try:
        sizes = [_int(value)]
    except ValueError:
        sizes = [_int(number) for number in _list(value)]
    if len(sizes) not in (1, 2):
        raise ValueError
    return sizes[0] if len(sizes) == 1 else sizes


def _numbers(value: Any) -> list[float]:
    return [_float(number) for number in _list(value)]


def _pair(value: Any) -> list[float]:
    numbers = _numbers(value)
    if len(numbers) != 2:
        raise ValueError
    return numbers


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


READ: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "text": _text,
    "size": _size,
    "pair": _pair,
    "numbers": _numbers,
    "object": _object,
    "list": _list,
    "any": lambda value: value,
}
"""Readers of the types, by the names of :data:`TYPES`; they raise ValueError or TypeError."""
