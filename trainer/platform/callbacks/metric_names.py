"""Our metrics under the names that the platform's charts and validation views read.

Charts (``extra_metrics`` of a row) take every key as a series, so a row has our own names only, each epoch the same
ones: an epoch without a validation repeats the newest one's values. The validation views read each value by names of
their own, so a validation's metrics are given under all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HEADLINES = {
    "detection": "mAP50-95",
    "instance_segmentation": "mAP50-95",
    "semantic_segmentation": "mIoU",
    "pose": "mAP50-95",
}
"""The metric that says how good a model of the task is, from 0 to 1."""
MOST_CLASSES = 200
"""With more classes neither confusion matrix nor curves are sent: they would be megabytes each time."""
CURVE_POINTS = 101


@dataclass
class Scores:
    """One validation, as its event and its curves file have it.

    Attributes:
        metrics: {name: value}, from 0 to 1.
        per_class: {class: {metric: value}}.
        curves: the content of ``curves/<point>.json``; empty where there is none.
    """

    task: str
    classes: Sequence[str]
    metrics: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, float]:
        """The metrics under our own names, with ``precision`` and ``recall`` where there are curves."""
        found = dict(self.metrics)
        if self.task == "semantic_segmentation":
            found.update(self._pixels())
        elif best := self._best(self._main):
            found |= {"precision": best["precision"], "recall": best["recall"]}
        return found

    @property
    def aliased(self) -> dict[str, float]:
        """The metrics under all names that the validation views read."""
        found = self.named
        if self.task == "detection":
            found |= _box_names(found.get("mAP50"), found.get("mAP50-95"))
            found |= _suffixed("B", found.get("precision"), found.get("recall"))
        elif self.task == "instance_segmentation":
            found |= _box_names(found.get("box_mAP50"), found.get("box_mAP50-95"))
            found |= _both("mAP50", "M", found.get("mAP50")) | _both("mAP50-95", "M", found.get("mAP50-95"))
            for part, letter in (("box", "B"), ("mask", "M")):
                best = self._best(part)
                found |= _suffixed(letter, best.get("precision"), best.get("recall"))
        elif self.task == "pose":
            found |= _known({"OKS": found.get("mAP50-95"), "PCK": found.get("PCK")})
        return found

    @property
    def classwise(self) -> dict[str, dict[str, float]]:
        """Class -> its values; every class is there, one without ground truth with a ``support`` of 0."""
        if self.task == "pose":
            return {}
        support, pixels = self._support(), self._pixels_of_classes()
        return {
            name: _known(
                {
                    "class_id": place,
                    **self.per_class.get(name, {}),
                    "ap_50": self.per_class.get(name, {}).get("mAP50"),
                    "ap_50_95": self.per_class.get(name, {}).get("mAP50-95"),
                    **self._class_bests(name),
                    **pixels.get(name, {}),
                    "support": support.get(name, None if name in self.per_class else 0),
                }
            )
            for place, name in enumerate(self.classes)
        }

    @property
    def matrix(self) -> list[list[int]] | None:
        """The confusion matrix, rows what is true, columns what was said; of detections the background comes last."""
        matrix = (self.curves.get("confusion") or {}).get("matrix")
        return matrix if matrix and len(self.classes) <= MOST_CLASSES else None

    @property
    def precision_curves(self) -> dict[str, dict[str, list[float]]] | None:
        """Class (pose: ``instance``) -> precision at 101 recalls."""
        part = (self.curves.get("parts") or {}).get(self._main) or {}
        curves = part.get("precision") or {}
        if not curves or len(curves) > MOST_CLASSES:
            return None
        steps = list(part["steps"])
        return {name: {"precision": list(curve), "recall": steps} for name, curve in curves.items()}

    @property
    def _main(self) -> str:
        return {"instance_segmentation": "mask", "pose": "keypoints"}.get(self.task, "box")

    def _best(self, part: str) -> dict[str, float]:
        """Precision, recall and F1 at the confidence with the highest F1."""
        return dict(((self.curves.get("parts") or {}).get(part) or {}).get("best_overall") or {})

    def _class_bests(self, name: str) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        parts = self.curves.get("parts") or {}
        letters = {"box": "B", "mask": "M"} if self.task == "instance_segmentation" else {}
        for part, content in parts.items():
            best = (content.get("best") or {}).get(name) or {}
            if part == self._main:
                found |= {"precision": best.get("precision"), "recall": best.get("recall")}
                found["f1_score"] = best.get("f1")
            if part in letters:
                found |= _suffixed(letters[part], best.get("precision"), best.get("recall"))
                curve = (content.get("precision") or {}).get(name)
                # COCO's average precision is the mean over these recalls.
                found |= _both("ap_50", letters[part], None if curve is None else float(np.mean(curve)))
        return found

    def _support(self) -> dict[str, int]:
        """Class -> how many there are (of pixels in semantic segmentation)."""
        confusion = self.curves.get("confusion") or {}
        rows = dict(zip(confusion.get("names") or (), confusion.get("matrix") or (), strict=False))
        return {name: int(sum(row)) for name, row in rows.items() if name in self.classes}

    def _pixels(self) -> dict[str, float]:
        """Means of the classes' pixelwise precision and recall."""
        each = self._pixels_of_classes().values()
        found = {}
        for name in ("precision", "recall"):
            values = [one[name] for one in each if name in one]
            if values:
                found[name] = float(np.mean(values))
        return found

    def _pixels_of_classes(self) -> dict[str, dict[str, float]]:
        confusion = self.curves.get("confusion") or {}
        if self.task != "semantic_segmentation" or not confusion.get("matrix"):
            return {}
        matrix = np.asarray(confusion["matrix"], float)
        right, truth, said = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        found: dict[str, dict[str, float]] = {}
        for place, name in enumerate(confusion["names"]):
            values = {}
            if said[place] or truth[place]:
                values["precision"] = float(right[place] / max(said[place], 1.0))
            if truth[place]:
                values["recall"] = float(right[place] / truth[place])
            found[name] = values
        return found


def headline(task: str, metrics: Mapping[str, float], primary: str, mode: str) -> tuple[str, float | None]:
    """The name and value that are shown for a run: its primary metric where a larger one is better and it goes from 0
    to 1, else the task's own."""
    value = metrics.get(primary)
    if mode == "max" and value is not None and 0.0 <= value <= 1.0:
        return primary, float(value)
    name = HEADLINES.get(task, primary)
    found = metrics.get(name)
    return name, None if found is None else float(found)


def _box_names(half: float | None, whole: float | None) -> dict[str, float]:
    names = {"mAP@0.5": half, "mAP@0.5:0.95": whole}
    return _known(names) | _both("mAP50", "B", half) | _both("mAP50-95", "B", whole)


def _suffixed(letter: str, precision: float | None, recall: float | None) -> dict[str, float]:
    return _both("precision", letter, precision) | _both("recall", letter, recall)


def _both(name: str, letter: str, value: float | None) -> dict[str, float]:
    """``name(B)`` and ``name_B_``."""
    return _known({f"{name}({letter})": value, f"{name}_{letter}_": value})


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
