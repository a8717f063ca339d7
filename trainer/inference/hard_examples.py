"""The images on which a model does worst, by a score of each image from 0 to 1."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.inference.merge_predictions import iou
from trainer.predictions.prediction import UNKNOWN, Prediction

CONFIDENT, SAME, MOST = 0.3, 0.5, 50
WORDS = {
    "detection": f"F1 of the boxes that score {CONFIDENT:g} or more, right from IoU {SAME:g} on",
    "instance_segmentation": f"F1 of the instances that score {CONFIDENT:g} or more, right from box IoU {SAME:g} on",
    "semantic_segmentation": "mean IoU of the classes that are there or were said to be",
    "pose": "mean object keypoint similarity of those who are there",
}


@dataclass(frozen=True)
class ScoredImage:
    """An image, its score from 0 (worst) to 1, what was said and what is true; ``key`` is its id in the data set."""

    path: str
    score: float
    prediction: Prediction
    truth: Prediction
    key: Any = None


class HardExamples:
    """Keeps the worst images of those it is shown; of equally bad ones those with more that is wrong."""

    def __init__(self, task: str, count: int, sigmas: np.ndarray | None = None) -> None:
        self.task, self.count, self.sigmas = task, count, sigmas
        self._heap: list[tuple[float, int, int, ScoredImage]] = []
        self._seen = 0

    def look(
        self, path: str, prediction: Prediction, truth: Prediction, areas: Any = None, key: Any = None
    ) -> None:
        """Judge an image.

        Args:
            areas: pose: of each person that is there, in px².
            key: the image's id in the data set.
        """
        if not self.count:
            return
        if self.task in ("detection", "instance_segmentation"):
            prediction = prediction.above(CONFIDENT)
        score, wrong = self._score(prediction, truth, areas)
        if prediction.segmentation is None:
            prediction = prediction.kept(np.arange(len(prediction))[:MOST])
        self._seen += 1
        entry = (-score, wrong, -self._seen, ScoredImage(path, score, prediction, truth, key))
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, entry)
        elif entry[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, entry)

    def images(self) -> list[ScoredImage]:
        """The worst first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:3], reverse=True)]

    def _score(self, prediction: Prediction, truth: Prediction, areas: Any) -> tuple[float, int]:
        """From 0 to 1, and how much is wrong."""
        if truth.segmentation is not None and prediction.segmentation is not None:
            return map_score(prediction.segmentation, truth.segmentation)
        if truth.keypoints is not None and prediction.keypoints is not None and self.sigmas is not None:
            return pose_score(prediction.keypoints, truth.keypoints, np.asarray(areas), self.sigmas)
        return box_score(prediction, truth)


def box_score(prediction: Prediction, truth: Prediction) -> tuple[float, int]:
    """F1 at ``SAME``, the best detection first taking the free ground truth of its class that it overlaps most."""
    if not len(prediction) and not len(truth):
        return 1.0, 0
    overlaps = iou(prediction.boxes, truth.boxes)
    overlaps = np.where(prediction.labels[:, None] == truth.labels[None], overlaps, 0.0)
    right = 0
    for index in np.argsort(-prediction.scores, kind="stable"):
        if overlaps.shape[1] and overlaps[index].max() >= SAME:
            right += 1
            overlaps[:, int(overlaps[index].argmax())] = 0
    wrong = len(prediction) + len(truth) - 2 * right
    return 2 * right / (len(prediction) + len(truth)), wrong


def map_score(said: np.ndarray, true: np.ndarray) -> tuple[float, int]:
    """Mean IoU of the classes in either (H, W) map, and the wrong pixels; pixels without truth don't count."""
    counted = true != UNKNOWN
    said, true = said[counted], true[counted]
    if not true.size:
        return 1.0, 0
    values = [
        np.count_nonzero((said == label) & (true == label))
        / np.count_nonzero((said == label) | (true == label))
        for label in np.union1d(said, true)
    ]
    return float(np.mean(values)), int(np.count_nonzero(said != true))


def pose_score(
    said: np.ndarray, true: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> tuple[float, int]:
    """Mean OKS of those who are there (N, K, 3), each with the answer (M, K, 3) that is most like it."""
    if not len(true):
        return 1.0, len(said)
    best = []
    for points, area in zip(true, areas, strict=True):
        labelled = points[:, 2] > 0
        if not labelled.any():
            continue
        squared = ((said[:, :, :2] - points[None, :, :2]) ** 2).sum(-1)
        similar = np.exp(-squared / ((2 * sigmas) ** 2) / (area + np.spacing(1)) / 2)[:, labelled].mean(1)
        best.append(float(similar.max()) if len(similar) else 0.0)
    return (float(np.mean(best)), sum(one < SAME for one in best)) if best else (1.0, 0)
