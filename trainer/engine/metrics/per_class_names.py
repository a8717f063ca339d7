"""How a class' own values are named between a metric, the events and the tracker."""

from __future__ import annotations

from collections.abc import Mapping

PER_CLASS = "per_class/"


def class_key(class_name: str, metric: str) -> str:
    return f"{PER_CLASS}{class_name}/{metric}"


def split_per_class(values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The flat metrics, and ``{class: {metric: value}}`` of those named ``per_class/<class>/<metric>``.

    The metric is what follows the last slash, so a class may have one in its name.
    """
    flat: dict[str, float] = {}
    classes: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        if name.startswith(PER_CLASS):
            class_name, metric = name[len(PER_CLASS) :].rsplit("/", 1)
            classes.setdefault(class_name, {})[metric] = value
        else:
            flat[name] = value
    return flat, classes
