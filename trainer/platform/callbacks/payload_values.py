"""Values on their way into a body: what the backend's types and its database take, in plain JSON."""

from __future__ import annotations

import math
from typing import Any


def scalars(values: Any) -> dict[str, float]:
    """The finite numbers of a mapping, as Python's; what is no number is left out."""
    if not isinstance(values, dict):
        raise ValueError("expected an object")
    found = ((str(name), value, number(value)) for name, value in values.items())
    return {name: int(value) if is_whole(value) else one for name, value, one in found if one is not None}


def nested(values: Any) -> dict[str, dict[str, float]]:
    """Class name -> its finite numbers."""
    if not isinstance(values, dict):
        raise ValueError("expected an object keyed by class name, not a list")
    return {str(name): scalars(one) for name, one in values.items()}


def square(rows: Any) -> list[list[int]]:
    """A square matrix of whole numbers."""
    rows = [list(row) for row in rows]
    if any(len(row) != len(rows) for row in rows):
        raise ValueError("expected a square matrix")
    if any(number(value) is None or float(value) != int(value) for row in rows for value in row):
        raise ValueError("expected whole numbers")
    return [[int(value) for value in row] for row in rows]


def curves(values: Any) -> dict[str, dict[str, list[float]]]:
    """Class name -> ``precision`` and ``recall``, lists of one length."""
    found = {}
    for name, curve in dict(values).items():
        precision, recall = list(curve["precision"]), list(curve["recall"])
        if len(precision) != len(recall):
            raise ValueError(f"{name}: expected as many precisions as recalls")
        found[str(name)] = {"precision": numbers(precision), "recall": numbers(recall)}
    return found


def numbers(values: Any, count: int | None = None) -> list[float]:
    """A list of finite numbers, ``count`` of them."""
    found = [number(value) for value in values]
    if count is not None and len(found) != count:
        raise ValueError(f"expected {count} numbers")
    if any(value is None for value in found):
        raise ValueError("expected finite numbers")
    return [value for value in found if value is not None]


def texts(values: Any) -> list[str]:
    return [str(value) for value in values]


def links(values: Any) -> dict[str, str]:
    """What there is: a null would be refused."""
    return {str(name): str(link) for name, link in dict(values).items() if link}


def predictions(values: Any) -> list[dict[str, Any]]:
    """Predictions of an image: a ``bbox`` has four numbers, or isn't there."""
    found: list[dict[str, Any]] = []
    for one in values:
        one = {name: value for name, value in plain(one).items() if value is not None}
        if "bbox" in one:
            one["bbox"] = numbers(one["bbox"], 4)
        found.append(one)
    return found


def plain(value: Any) -> Any:
    """Any nesting of mappings, lists and numbers (numpy's too) as JSON has it; NaN becomes null."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return plain(value.tolist())
    if is_whole(value):
        return int(value)
    found = number(value)
    return found if found is not None or isinstance(value, float) else str(value)


def number(value: Any) -> float | None:
    """A finite number (numpy's and torch's scalars too), or None."""
    if isinstance(value, str) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def is_whole(value: Any) -> bool:
    return not isinstance(value, (bool, str, float)) and hasattr(value, "__index__")
