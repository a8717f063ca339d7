"""Several answers for one image as one: what test-time augmentation sees is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainer.predictions.prediction import Prediction

SAME = 0.55
"""From this overlap (IoU) on, two boxes of a class are one thing."""


def merge_predictions(answers: Sequence[Prediction], top_down: bool = False) -> Prediction:
    """The answers of one image's views, all in its own px, averaged.

    Segmentations by the mean of their probabilities; instances by weighted box fusion: boxes that overlap are one,
    where their scores pull it, and its score is their mean times the share of the views that saw it.

    Args:
        top_down: the n-th instance of each answer is of the same box.
    """
    first = answers[0]
    if len(answers) == 1:
        return first
    if first.segmentation is not None:
        return _fused_maps(answers)
    if top_down:
        return _fused_poses(answers)
    return _fused_instances(answers)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlaps (N, M) of boxes (N, 4) with others (M, 4), x1 y1 x2 y2."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
    other_areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(-1)
    return common / np.maximum(areas[:, None] + other_areas[None] - common, 1e-9)


def probabilities_of(answer: Prediction) -> np.ndarray:
    """(C, H, W) float32 behind a segmentation; 1 for what it says where the model gives none."""
    if answer.probabilities is not None:
        return answer.probabilities
    assert answer.segmentation is not None
    values = np.arange(len(answer.classes), dtype=answer.segmentation.dtype)
    return (answer.segmentation[None] == values[:, None, None]).astype(np.float32)


def _fused_maps(answers: Sequence[Prediction]) -> Prediction:
    total = probabilities_of(answers[0]).copy()
    for answer in answers[1:]:
        total += probabilities_of(answer)
    total /= len(answers)
    return replace(answers[0], segmentation=total.argmax(0).astype(np.uint8), probabilities=total)


def _fused_poses(answers: Sequence[Prediction]) -> Prediction:
    points = np.stack([answer.keypoints for answer in answers if answer.keypoints is not None])
    return replace(
        answers[0],
        scores=np.mean([answer.scores for answer in answers], axis=0).astype(np.float32),
        keypoints=_mean_points(points),
    )


def _mean_points(points: np.ndarray) -> np.ndarray:
    """(V, ..., 3) points as (..., 3): places averaged by score, scores averaged."""
    weights = np.clip(points[..., 2:], 1e-6, None)
    places = (points[..., :2] * weights).sum(0) / weights.sum(0)
    return np.concatenate([places, points[..., 2:].mean(0)], -1).astype(np.float32)


def _fused_instances(answers: Sequence[Prediction]) -> Prediction:
    boxes = np.concatenate([answer.boxes for answer in answers])
    scores = np.concatenate([answer.scores for answer in answers])
    labels = np.concatenate([answer.labels for answer in answers])
    places = [(view, index) for view, answer in enumerate(answers) for index in range(len(answer))]
    clusters = _clusters(boxes, scores, labels)
    if not clusters:
        return answers[0].kept(np.zeros(0, int))
    first = answers[0]
    masks = None if first.masks is None else np.zeros((len(clusters), *first.masks.shape[1:]), bool)
    keypoints = None if first.keypoints is None else np.zeros((len(clusters), *first.keypoints.shape[1:]))
    fused = np.zeros((len(clusters), 4), np.float32)
    for index, members in enumerate(clusters):
        weights = scores[members] / max(float(scores[members].sum()), 1e-9)
        fused[index] = (boxes[members] * weights[:, None]).sum(0)
        own = [(answers[view], place) for view, place in (places[member] for member in members)]
        if masks is not None:
            cover = np.zeros(masks.shape[1:], np.float32)
            for weight, (answer, place) in zip(weights, own, strict=True):
                assert answer.masks is not None
                cover += weight * answer.masks[place]
            masks[index] = cover >= 0.5
        if keypoints is not None:
            seen = [answer.keypoints[place] for answer, place in own if answer.keypoints is not None]
            keypoints[index] = _mean_points(np.stack(seen))
    means = [float(scores[m].mean()) * min(len(m), len(answers)) / len(answers) for m in clusters]
    return replace(
        first,
        boxes=fused,
        scores=np.array(means, np.float32),
        labels=labels[[members[0] for members in clusters]],
        masks=masks,
        keypoints=None if keypoints is None else keypoints.astype(np.float32),
    ).above(0.0)


def _clusters(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Indices of boxes that are one thing, the best first; a cluster's box is its members' mean by score."""
    clusters: list[list[int]] = []
    centres = np.zeros((len(boxes), 4), np.float64)
    kinds = np.zeros(len(boxes), np.int64)
    for index in np.argsort(-scores, kind="stable"):
        count = len(clusters)
        overlaps = np.where(
            kinds[:count] == labels[index], iou(boxes[None, index], centres[:count])[0] if count else 0, 0
        )
        if count and overlaps.max() > SAME:
            place = int(overlaps.argmax())
            clusters[place].append(int(index))
            members = clusters[place]
            weights = np.maximum(scores[members], 1e-9)
            centres[place] = (boxes[members] * weights[:, None]).sum(0) / weights.sum()
        else:
            centres[count], kinds[count] = boxes[index], labels[index]
            clusters.append([int(index)])
    return clusters
