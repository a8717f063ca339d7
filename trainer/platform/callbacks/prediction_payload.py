"""What was found in an image, as the backend stores it, from an entry of our ``predictions.json``."""

from __future__ import annotations

from typing import Any

OUTLINE_PX = 0.5
"""How far an outline's simplified form may be from the pixels' border."""


def as_predictions(entry: dict[str, Any], about: dict[str, Any]) -> list[dict[str, Any]]:
    """Predictions with ``class_id`` (from 0), ``class_name``, ``confidence``, ``bbox`` (x1 y1 x2 y2 in px), and
    ``mask`` (``polygon``: the largest part's outline, ``polygons``: all parts') or ``keypoints`` ([x, y, score] each).

    Of a segmentation there is one for each class; what it is sure of isn't known, so that its confidence is 1.

    Args:
        entry: an image of ``predictions.json``.
        about: what that file says of the model.
    """
    classes = about["classes"]
    if "segments" in entry:
        return [_segment(one) for one in entry["segments"]]
    return [_instance(one, classes) for one in entry["predictions"]]


def polygons(mask: Any) -> list[list[list[int]]]:
    """Outlines [[x, y], ...] in px of a mask's parts (H, W), the largest first; parts of fewer than three corners are
    left out. Holes are not told."""
    import cv2
    import numpy as np

    parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simple = [
        cv2.approxPolyDP(part, OUTLINE_PX, True) for part in sorted(parts, key=cv2.contourArea, reverse=True)
    ]
    return [part.reshape(-1, 2).tolist() for part in simple if len(part) >= 3]


def _instance(one: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    x, y, width, height = one["bbox"]
    # Pose models don't classify; their only class is meant.
    number = one.get("category_id", 1) - 1
    told: dict[str, Any] = {
        "class_id": number,
        "class_name": one.get("category_name") or (classes[number] if classes else ""),
        "confidence": one["score"],
        "bbox": [x, y, round(x + width, 2), round(y + height, 2)],
    }
    if "segmentation" in one:
        told |= _mask(one["segmentation"])
    if "keypoints" in one:
        flat = one["keypoints"]
        told["keypoints"] = [flat[start : start + 3] for start in range(0, len(flat), 3)]
    return told


def _segment(one: dict[str, Any]) -> dict[str, Any]:
    from trainer.predictions.prediction import decode_mask

    mask: Any = decode_mask(one["segmentation"])
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return {
        "class_id": one["category_id"] - 1,
        "class_name": one["category_name"],
        "confidence": 1.0,
        "bbox": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
        "area": one["area"],
        **_outlined(mask),
    }


def _mask(encoded: dict[str, Any]) -> dict[str, Any]:
    from trainer.predictions.prediction import decode_mask

    return _outlined(decode_mask(encoded))


def _outlined(mask: Any) -> dict[str, Any]:
    found = polygons(mask)
    return {"mask": {"polygon": found[0], "polygons": found}} if found else {}
