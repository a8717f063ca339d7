"""What an OpenMMLab model answers for an image, as a :class:`Prediction`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.predictions.prediction import Prediction


def to_prediction(
    task: str,
    path: str | None,
    classes: tuple[str, ...],
    outputs: Sequence[Any],
    threshold: float = 0.0,
    probabilities: bool = False,
) -> Prediction:
    """An image's answer in plain types, from what an OpenMMLab model gives for it: of a top-down pose model one
    data sample a box, of any other a single one.

    Args:
        threshold: instances that score less may be left out.
        probabilities: whether a segmentation comes with what is behind it.
    """
    output = outputs[0]
    height, width = output.ori_shape[:2]
    if task == "pose":
        return _pose(path, (height, width), classes, outputs)
    size = (int(width), int(height))
    if task == "semantic_segmentation":
        indices = _array(output.pred_sem_seg.data).squeeze(0).astype(np.uint8)
        behind = _probabilities(output.seg_logits.data) if probabilities else None
        return Prediction(path, size, classes, segmentation=indices, probabilities=behind)
    found = output.pred_instances
    if threshold > 0:  # before anything is copied: a whole image's masks are large
        found = found[found.scores >= threshold]
    return Prediction(
        path,
        size,
        classes,
        _array(found.bboxes).astype(np.float32).reshape(-1, 4),
        _array(found.scores).astype(np.float32),
        _array(found.labels).astype(np.int64),
        _array(found.masks).astype(bool) if task == "instance_segmentation" else None,
    )


def _probabilities(logits: Any) -> np.ndarray:
    """(C, H, W) of a segmentation's logits; a single channel is a sigmoid's."""
    import torch

    logits = logits.float()
    if logits.shape[0] > 1:
        return _array(logits.softmax(0))
    one = logits.sigmoid()
    return _array(torch.cat([1 - one, one]))


def _pose(path: str | None, shape: Any, classes: tuple[str, ...], outputs: Sequence[Any]) -> Prediction:
    """One answer of several boxes' outputs, or of a bottom-up model's one."""
    found = [output.pred_instances for output in outputs]
    points = [
        np.concatenate([_array(one.keypoints), _array(one.keypoint_scores)[..., None]], -1) for one in found
    ]
    keypoints = np.concatenate(points).astype(np.float32) if points else np.zeros((0, 1, 3), np.float32)
    boxes = [
        _array(one.bboxes).reshape(-1, 4) if "bboxes" in one else _around(_array(one.keypoints))
        for one in found
    ]
    box_scores = [_array(one.bbox_scores).reshape(-1) for one in found if "bbox_scores" in one]
    scores = keypoints[..., 2].mean(-1) if len(keypoints) else np.zeros(0, np.float32)
    if sum(map(len, box_scores)) == len(scores) and len(scores):
        scores = scores * np.concatenate(box_scores)
    return Prediction(
        path,
        (int(shape[1]), int(shape[0])),
        classes,
        np.concatenate(boxes).astype(np.float32) if boxes else np.zeros((0, 4), np.float32),
        scores.astype(np.float32),
        # Pose models don't classify; with one class there is nothing to classify.
        np.full(len(keypoints), 0 if len(classes) == 1 else -1, np.int64),
        keypoints=keypoints,
    )


def _around(keypoints: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) that just hold keypoints (N, K, 2), for bottom-up models without boxes of their own."""
    return np.concatenate([keypoints.min(1), keypoints.max(1)], -1)


def _array(values: Any) -> np.ndarray:
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() else values)  # numpy has no bfloat16
