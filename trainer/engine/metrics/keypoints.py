"""PCK: the share of keypoints that are where they should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NEAR = 0.2
"""How far a correct keypoint may be off, as a share of its box's larger side."""


def share_correct(
    truths: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], sigmas: np.ndarray
) -> float:
    """The share, from 0 to 1, of labelled keypoints that a prediction puts within ``NEAR`` of the box's larger side.

    Args:
        truths: COCO annotations with id, image_id, bbox (x, y, w, h in px), area and keypoints (x, y, v in turn).
        predictions: dicts with image, keypoints (K, 2) in px, score, and annotation: the id of the ground truth it
            was made for, or None where it has to be matched.
        sigmas: falloff of each keypoint (K,), for the matching.
    """
    own = {p["annotation"]: p for p in predictions if p["annotation"] is not None}
    free: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for prediction in predictions:
        if prediction["annotation"] is None:
            free[prediction["image"]].append(prediction)
    by_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for truth in truths:
        by_image[truth["image_id"]].append(truth)

    correct = labelled = 0
    for image, shown in by_image.items():
        matched = _match(shown, free[image], sigmas)
        for truth in shown:
            points, visible = _points(truth)
            labelled += int(visible.sum())
            found = own.get(truth["id"]) or matched.get(truth["id"])
            if found is not None:
                distance = np.linalg.norm(found["keypoints"] - points, axis=1)
                correct += int((distance[visible] <= NEAR * max(truth["bbox"][2:])).sum())
    return correct / labelled if labelled else 0.0


def _match(
    truths: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], sigmas: np.ndarray
) -> dict[int, Mapping[str, Any]]:
    """Ground truth id -> prediction: each speaks for the ground truth it is most similar to, the best score counts.

    A second one for the same ground truth is a duplicate; given another's place it would push that one's out.
    """
    matched: dict[int, Mapping[str, Any]] = {}
    for prediction in sorted(predictions, key=lambda p: -p["score"]):
        similarity = [_similarity(truth, prediction["keypoints"], sigmas) for truth in truths]
        best = int(np.argmax(similarity))
        if similarity[best] > 0:
            matched.setdefault(truths[best]["id"], prediction)
    return matched


def _similarity(truth: Mapping[str, Any], keypoints: np.ndarray, sigmas: np.ndarray) -> float:
    """COCO's object keypoint similarity over the labelled points."""
    points, visible = _points(truth)
    squared = ((keypoints - points) ** 2).sum(axis=1)
    exponent = squared / ((2 * sigmas) ** 2) / (truth["area"] + np.spacing(1)) / 2
    return float(np.exp(-exponent[visible]).mean())


def _points(annotation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(annotation["keypoints"], dtype=float).reshape(-1, 3)
    return values[:, :2], values[:, 2] > 0
