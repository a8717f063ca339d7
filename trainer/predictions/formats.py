"""Answers in the forms that other tools read: COCO results and YOLO text."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from trainer.predictions.prediction import Prediction


def coco_results(prediction: Prediction, image_id: int) -> list[dict[str, Any]]:
    """An answer's instances as COCO's results format has them: ``COCO.loadRes`` reads a list of these.

    Category ids count from 1 in the order of the classes, as in every data set that was prepared here; where nothing
    is classified (pose) it is 1. A segmentation has no instances.
    """
    if prediction.segmentation is not None:
        return []
    results = []
    for instance in prediction.to_json()["predictions"]:
        instance.pop("category_name", None)
        results.append({"image_id": image_id, "category_id": 1, **instance})
    return results


def yolo_lines(prediction: Prediction, scores: bool = False) -> list[str]:
    """An answer's instances as lines of a YOLO label file; all places are shares of the image's width and height.

    Boxes are ``class cx cy w h``, with keypoints ``x y visible`` of each after that; masks are ``class x1 y1 x2 y2
    ...``, the outline of their largest part, and one without an outline is left out. A segmentation has no lines.

    Args:
        scores: whether the score is the last number of each line.
    """
    lines = []
    size = np.array(prediction.size, np.float64)
    for index in range(len(prediction)):
        numbers: list[float]
        if prediction.masks is not None:
            outline = _outline(prediction.masks[index])
            if outline is None:
                continue
            numbers = (outline / size).ravel().tolist()
        else:
            x1, y1, x2, y2 = prediction.boxes[index].tolist()
            numbers = [
                *((np.array([x1 + x2, y1 + y2]) / 2) / size).tolist(),
                *(np.array([x2 - x1, y2 - y1]) / size).tolist(),
            ]
        if prediction.keypoints is not None:
            for x, y, score in prediction.keypoints[index].tolist():
                numbers += [x / size[0], y / size[1], 2.0 if score > 0 else 0.0]
        if scores:
            numbers.append(float(prediction.scores[index]))
        label = max(0, int(prediction.labels[index]))
        lines.append(" ".join([str(label), *(f"{number:.6g}" for number in numbers)]))
    return lines


def _outline(mask: np.ndarray) -> np.ndarray | None:
    """(N, 2) corners of the largest part of a mask; None where it has fewer than three."""
    parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(parts, key=cv2.contourArea, default=None)
    return largest.reshape(-1, 2) if largest is not None and len(largest) >= 3 else None
