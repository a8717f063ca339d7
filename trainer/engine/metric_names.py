"""Evaluators report one flat dictionary; per-class values carry their class in the name."""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "per_class/"


def split_per_class(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """``{"mAP50": .., "per_class/cat/mAP50": ..}`` -> ``({"mAP50": ..}, {"cat": {"mAP50": ..}})``.

    A class's name may hold slashes; a metric's doesn't.
    """
    flat: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        if key.startswith(PREFIX):
            name, _, metric = key.removeprefix(PREFIX).rpartition("/")
            per_class.setdefault(name, {})[metric] = float(value)
        else:
            flat[key] = float(value)
    return flat, per_class
