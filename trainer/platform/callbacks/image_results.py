"""The pictures of a validation, from ``predictions/<point>.json``: what is true, what was said, how well they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from trainer.platform.callbacks.payloads import BoxPayload, ImageResultPayload

MOST_IMAGES = 50
MOST_BOXES = 100
"""Of an image's boxes, true and said; the best-scored come first. An image is judged by all of them."""
IOU = 0.5
"""From here on a box is found, and an image's classes are right."""

Instance = Mapping[str, Any]


def image_results(samples: Mapping[str, Any]) -> list[ImageResultPayload]:
    """Results of at most ``MOST_IMAGES`` images.

    An image of boxes is correct when each true one is found at an IoU of 0.5 with its class and nothing else was said;
    one of pixels when its mean IoU is 0.5.

    Args:
        samples: the file's content.
    """
    results = []
    for place, image in enumerate(samples.get("images", ())[:MOST_IMAGES]):
        said, true = image.get("prediction") or {}, image.get("truth") or {}
        name = PurePath(str(said.get("file") or place)).name
        judge = _pixels if "segments" in said else _instances
        results.append(judge(name, place, said, true))
    return results


def _instances(name: str, place: int, said: Mapping[str, Any], true: Mapping[str, Any]) -> ImageResultPayload:
    found, truths = list(said.get("predictions", ())), list(true.get("predictions", ()))
    found.sort(key=lambda one: -(one.get("score") or 0.0))
    overlaps = _matched(found, truths)
    scores = [float(one["score"]) for one in found if one.get("score") is not None]
    extra: dict[str, Any] = {
        "num_tp": len(overlaps),
        "num_fp": len(found) - len(overlaps),
        "num_fn": len(truths) - len(overlaps),
    }
    if any("keypoints" in one for one in (*found, *truths)):
        extra["predicted_keypoints"] = [_points(one) for one in found[:MOST_BOXES]]
        extra["true_keypoints"] = [_points(one) for one in truths[:MOST_BOXES]]
    return ImageResultPayload(
        image_name=name,
        image_index=place,
        is_correct=len(overlaps) == len(found) == len(truths),
        iou=min(1.0, sum(overlaps) / len(overlaps)) if overlaps else None,
        confidence=min(1.0, sum(scores) / len(scores)) if scores else None,
        true_boxes=[_box(one, False) for one in truths[:MOST_BOXES]],
        predicted_boxes=[_box(one, True) for one in found[:MOST_BOXES]],
        extra_data=extra,
    )


def _pixels(name: str, place: int, said: Mapping[str, Any], true: Mapping[str, Any]) -> ImageResultPayload:
    from faster_coco_eval import mask as rle

    masks = [{one["category_id"]: one for one in side.get("segments", ())} for side in (said, true)]
    overlaps: dict[str, float] = {}
    for category in sorted({*masks[0], *masks[1]}):
        sides = [side.get(category) for side in masks]
        label = str((sides[0] or sides[1] or {}).get("category_name"))
        if sides[0] is None or sides[1] is None:
            overlaps[label] = 0.0
        else:
            pair = [side["segmentation"] for side in sides if side]
            overlaps[label] = float(rle.iou([pair[0]], [pair[1]], [0])[0][0])
    mean = sum(overlaps.values()) / len(overlaps) if overlaps else None
    return ImageResultPayload(
        image_name=name,
        image_index=place,
        is_correct=mean is not None and mean >= IOU,
        iou=mean,
        extra_data={"class_iou": overlaps},
    )


def _matched(found: Sequence[Instance], truths: Sequence[Instance]) -> list[float]:
    """The overlaps of the said boxes that are right: each, best first, takes the free true one it fits best."""
    free, overlaps = list(truths), []
    for one in found:
        fits = [
            (_iou(one["bbox"], truth["bbox"]), place)
            for place, truth in enumerate(free)
            if truth.get("category_id") == one.get("category_id")
        ]
        best, place = max(fits, default=(0.0, -1))
        if best >= IOU:
            overlaps.append(best)
            del free[place]
    return overlaps


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Of boxes x y width height."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    whole = one[2] * one[3] + other[2] * other[3] - shared
    return shared / whole if whole > 0 else 0.0


def _box(one: Instance, said: bool) -> BoxPayload:
    score = one.get("score") if said else None
    return BoxPayload(
        class_id=max(0, int(one.get("category_id", 1)) - 1),
        bbox=list(one["bbox"]),
        confidence=None if score is None else min(1.0, max(0.0, float(score))),
    )


def _points(one: Instance) -> list[list[float]]:
    flat = list(one.get("keypoints", ()))
    return [flat[place : place + 3] for place in range(0, len(flat), 3)]
