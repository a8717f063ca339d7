"""How far keypoints are off, and PCK: the share of them that are where they should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NEAR = 0.2
"""How far a correct keypoint may be off, as a share of its box's larger side."""


@dataclass(frozen=True)
class KeypointErrors:
    """What was measured on each ground truth.

    Attributes:
        distances: (N, K) as shares of the box's larger side; NaN for a point that isn't labelled, infinite for one
            whose instance wasn't found.
        similarities: (N, K) COCO's similarity of each point, from 0 to 1; NaN for a point that isn't labelled.
    """

    distances: np.ndarray
    similarities: np.ndarray

    @property
    def correct(self) -> float:
        """PCK: the share, from 0 to 1, of labelled keypoints within ``NEAR``; one that wasn't found isn't."""
        labelled = ~np.isnan(self.distances)
        return float((self.distances[labelled] <= NEAR).mean()) if labelled.any() else 0.0

    def each(self, names: Sequence[str]) -> dict[str, Any]:
        """For each keypoint: mean error of those found, PCK, mean similarity, how many were labelled and missed."""
        labelled = ~np.isnan(self.distances)
        found = np.isfinite(self.distances)
        counts = labelled.sum(axis=0)
        return {
            "names": list(names),
            "error": _means(np.where(found, self.distances, 0.0).sum(axis=0), found.sum(axis=0)),
            "pck": _means((np.where(labelled, self.distances, np.inf) <= NEAR).sum(axis=0), counts),
            "similarity": _means(np.nansum(self.similarities, axis=0), counts),
            "labelled": counts.tolist(),
            "missed": np.isinf(self.distances).sum(axis=0).tolist(),
            "near": NEAR,
        }


def measure(
    truths: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], sigmas: np.ndarray
) -> KeypointErrors:
    """Compare predictions with the labelled keypoints of each ground truth.

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

    distances, similarities = [], []
    for image, shown in by_image.items():
        matched = _match(shown, free[image], sigmas)
        for truth in shown:
            points, visible = _points(truth)
            off = np.full(len(points), np.inf)
            similar = np.zeros(len(points))
            found = own.get(truth["id"]) or matched.get(truth["id"])
            if found is not None:
                off = np.linalg.norm(found["keypoints"] - points, axis=1) / max(truth["bbox"][2:])
                similar = _similarities(truth, found["keypoints"], sigmas)
            distances.append(np.where(visible, off, np.nan))
            similarities.append(np.where(visible, similar, np.nan))
    shape = (-1, len(sigmas))
    return KeypointErrors(np.array(distances).reshape(shape), np.array(similarities).reshape(shape))


def _means(sums: np.ndarray, counts: np.ndarray) -> list[float | None]:
    return [round(float(s / n), 4) if n else None for s, n in zip(sums, counts, strict=True)]


def _match(
    truths: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], sigmas: np.ndarray
) -> dict[int, Mapping[str, Any]]:
    """Ground truth id -> prediction: each speaks for the ground truth it is most similar to, the best score counts.

    A second one for the same ground truth is a duplicate; given another's place it would push that one's out.
    """
    matched: dict[int, Mapping[str, Any]] = {}
    for prediction in sorted(predictions, key=lambda p: -p["score"]):
        similarity = [
            float(_similarities(truth, prediction["keypoints"], sigmas)[_points(truth)[1]].mean())
            for truth in truths
        ]
        best = int(np.argmax(similarity))
        if similarity[best] > 0:
            matched.setdefault(truths[best]["id"], prediction)
    return matched


def _similarities(truth: Mapping[str, Any], keypoints: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Each point's part (K,) of COCO's object keypoint similarity."""
    squared = ((keypoints - _points(truth)[0]) ** 2).sum(axis=1)
    exponent = squared / ((2 * sigmas) ** 2) / (truth["area"] + np.spacing(1)) / 2
    return np.exp(-exponent)


def _points(annotation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(annotation["keypoints"], dtype=float).reshape(-1, 3)
    return values[:, :2], values[:, 2] > 0
