"""An MMEngine config as Python text, without a formatter: a thousandth of yapf's time."""

from __future__ import annotations

import keyword
import math
from typing import Any

WIDTH = 110


def config_text(config: dict[str, Any]) -> str:
    """Python source with one assignment per top-level key, in order; executing it gives ``config`` again.

    Tuples stay tuples, NaN and infinity stay what they are, classes and functions become their dotted names,
    which mmengine's registries resolve.
    """
    return "".join(f"{key} = {_text(value, 0, len(str(key)) + 3)}\n" for key, value in config.items())


def _text(value: Any, indent: int, column: int) -> str:
    """``value`` on one line when it fits from ``column`` on, else one item a line, ``indent`` deep."""
    line = _one_line(value)
    if column + len(line) <= WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return line
    inner = indent + 4
    pad = " " * inner
    if isinstance(value, dict):
        named = _all_names(value)
        left, right = ("dict(", ")") if named else ("{", "}")
        heads = [f"{key}=" if named else f"{key!r}: " for key in value]
        items = [
            pad + head + _text(item, inner, inner + len(head) + 1)
            for head, item in zip(heads, value.values(), strict=True)
        ]
    else:
        left, right = ("[", "]") if isinstance(value, list) else ("(", ")")
        items = [pad + _text(item, inner, inner + 1) for item in value]
    return left + "\n" + "".join(item + ",\n" for item in items) + " " * indent + right


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        if _all_names(value):
            return "dict(" + ", ".join(f"{key}={_one_line(item)}" for key, item in value.items()) + ")"
        return "{" + ", ".join(f"{key!r}: {_one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_one_line, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_one_line, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return repr(
                value if type(value) is kind else kind(value)
            )  # numpy's float64 is a float, but has its own repr
    if value is None or isinstance(value, (bytes, complex)):
        return repr(value)
    if isinstance(value, type) and value.__module__ == "builtins":
        return value.__name__
    if hasattr(value, "__module__") and hasattr(value, "__qualname__"):
        return repr(f"{value.__module__}.{value.__qualname__}")
    if hasattr(value, "tolist"):
        return _one_line(value.tolist())  # numpy's scalars and arrays
    return repr(str(value)) if str(value).startswith("torch.") else repr(value)


def _all_names(value: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value)
