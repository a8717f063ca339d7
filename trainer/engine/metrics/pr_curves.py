"""The curves behind the metrics, in plain values: precision over recall, F1 over confidence, confusion, keypoints.

A metric that has them keeps, after each evaluation, a function that computes them (``curves``): it may take a second
on a large data set and needn't run on the training thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.engine.metrics.coco_scores import CocoScores
from trainer.engine.metrics.matching import CONFIDENT, IOU, Matches, confusion, match_detections

Curves = dict[str, Any]
DIGITS = 4
STEPS = np.linspace(0.0, 1.0, 101)
"""The recalls of a precision curve, and the confidences of an F1 curve."""


def take_curves(evaluator: Any) -> Callable[[], Curves] | None:
    """The function that computes the curves of the evaluation that has just ended; None where there are none.

    Args:
        evaluator: mmengine's Evaluator.
    """
    for metric in getattr(evaluator, "metrics", ()):
        curves = getattr(metric, "curves", None)
        if curves is not None:
            metric.curves = None  # it holds all detections
            return curves
    return None


def coco_curves(scores: CocoScores, names: Mapping[int, str]) -> Curves:
    """Precision over recall and F1 over confidence at IoU (keypoints: similarity) 0.5, of each class and overall.

    ``overall`` is the mean over the classes that have ground truth. ``best`` is the confidence with the highest F1,
    with the precision and recall there.

    Args:
        names: category id -> class name.
    """
    matches = match_detections(scores.overlaps) if scores.overlaps else {}
    precision: dict[str, np.ndarray] = {}
    f1: dict[str, np.ndarray] = {}
    best: dict[str, Curves] = {}
    for category, name in names.items():
        curve = scores.precision_curve(IOU, category)
        if curve is None:
            continue
        match = matches[category]
        precision[name], f1[name] = curve, f1_curve(match)
        best[name] = _best([match], f1[name])
    if not precision:
        return {"iou": IOU, "classes": []}
    overall = np.mean(list(f1.values()), axis=0)
    counted = [matches[category] for category, name in names.items() if name in precision]
    return {
        "iou": IOU,
        "steps": _rounded(STEPS),
        "classes": list(precision),
        "precision": {name: _rounded(curve) for name, curve in precision.items()},
        "precision_overall": _rounded(np.mean(list(precision.values()), axis=0)),
        "f1": {name: _rounded(curve) for name, curve in f1.items()},
        "f1_overall": _rounded(overall),
        "best": best,
        "best_overall": _best(counted, overall),
    }


def confusion_curves(scores: CocoScores, names: Mapping[int, str]) -> Curves:
    """The confusion matrix of detections, with the background as its last row and column."""
    if scores.overlaps is None:
        return {}
    counts = confusion(scores.overlaps)
    order = [scores.categories.index(category) for category in names] + [len(scores.categories)]
    return {
        "of": "instances",
        "names": [*names.values(), "background"],
        "matrix": counts[np.ix_(order, order)].tolist(),
        "threshold": CONFIDENT,
        "iou": IOU,
    }


def f1_curve(matches: Matches) -> np.ndarray:
    """F1 (101,) where only detections from a confidence of 0, 0.01, ... 1 on count."""
    found, right = _from_confidence(matches)
    return 2 * right / np.maximum(found + matches.truths, 1)


def _from_confidence(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """How many detections (101,), and how many right ones (101,), score at least each step."""
    order = np.sort(matches.scores)
    hits = np.sort(matches.scores[matches.right])
    return len(order) - np.searchsorted(order, STEPS), len(hits) - np.searchsorted(hits, STEPS)


def _best(matches: Sequence[Matches], f1: np.ndarray) -> Curves:
    """The middle of the confidences with the highest F1, and the precision and recall there (means of the classes)."""
    tops = np.flatnonzero(f1 >= f1.max() - 1e-12)
    place = int(tops[len(tops) // 2])
    precision, recall = [], []
    for match in matches:
        found, right = _from_confidence(match)
        if found[place]:
            precision.append(right[place] / found[place])
        recall.append(right[place] / max(match.truths, 1))
    return {
        "threshold": round(float(STEPS[place]), 2),
        "f1": round(float(f1[place]), DIGITS),
        "precision": round(float(np.mean(precision)), DIGITS) if precision else 0.0,
        "recall": round(float(np.mean(recall)), DIGITS),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, DIGITS).tolist()
