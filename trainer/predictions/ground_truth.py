"""COCO annotations of an image as a :class:`Prediction`, to be drawn and compared beside a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.predictions.prediction import Prediction


def coco_truth(
    path: str,
    image: dict[str, Any],
    annotations: Sequence[dict[str, Any]],
    categories: Mapping[int, dict[str, Any]],
    task: str,
    classes: tuple[str, ...],
) -> Prediction:
    """The ground truth of an image as a prediction without scores; crowds, and people without keypoints, left out.

    Args:
        image, annotations, categories: COCO's image, its annotations, and the categories by id.
    """
    annotations = [
        one for one in annotations if not one.get("iscrowd") and (task != "pose" or "keypoints" in one)
    ]
    boxes = np.array([one["bbox"] for one in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = keypoints = None
    if task == "instance_segmentation":
        empty = np.zeros((0, image["height"], image["width"]), bool)
        masks = np.stack([_mask(one["segmentation"], image) for one in annotations]) if annotations else empty
    if task == "pose":
        keypoints = np.array([one["keypoints"] for one in annotations], np.float32).reshape(
            len(annotations), -1, 3
        )
        keypoints[..., 2] = keypoints[..., 2] > 0
    return Prediction(
        path,
        (image["width"], image["height"]),
        classes,
        boxes,
        np.full(len(annotations), np.nan, np.float32),
        np.array([_label(categories[one["category_id"]]["name"], classes) for one in annotations], np.int64),
        masks,
        keypoints=keypoints,
    )


def _mask(segmentation: Any, image: dict[str, Any]) -> np.ndarray:
    from faster_coco_eval import mask as rle

    height, width = image["height"], image["width"]
    if isinstance(segmentation, list):
        return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width))).astype(bool)
    if isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation).astype(bool)


def _label(name: str, classes: tuple[str, ...]) -> int:
    return classes.index(name) if name in classes else -1
