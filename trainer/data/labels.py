"""One annotation as the file has it -> one :class:`Annotation`: box, mask and keypoints put into one form."""

from __future__ import annotations

import math
from typing import Any

from trainer.data.geometry import clip_box, rle_mask, segmentation_area, segmentation_box
from trainer.data.records import Annotation, ImageRecord, Problems

_NUMBERS = frozenset((int, float))
BOX_FORMATS = ("xywh", "xyxy", "cxcywh")


def read_annotation(
    raw: dict[str, Any], label: int, image: ImageRecord, where: str, problems: Problems
) -> Annotation | None:
    """``raw`` in ``image``, or None (with a remark or a mistake in ``problems``) when it labels nothing.

    The box is clipped to the image; where it is missing it comes from the mask, else from the keypoints. ``where``
    names the annotation in messages.
    """
    if not raw.get("segmentation") and not raw.get("keypoints") and (plain := _plain(raw, label, image)):
        return plain
    segmentation = _segmentation(raw.get("segmentation"), image, where, problems)
    keypoints = _keypoints(raw.get("keypoints"), where, problems)
    box = _box(raw, segmentation, keypoints, where, problems)
    if box is None:
        return None
    clipped = clip_box(box, image.width, image.height)
    if clipped is None:
        problems.note("boxes without area inside the image dropped", where, "box_degenerate")
        return None
    if any(abs(a - b) > 1 for a, b in zip(_corners(box), _corners(clipped), strict=True)):
        problems.note("boxes that reach out of the image cut at its edge", where, "box_outside")
    area: Any = raw.get("area")
    if not _number(area) or area <= 0:
        area = segmentation_area(segmentation) if segmentation else clipped[2] * clipped[3]
    return Annotation(
        label=label,
        bbox=clipped,
        area=float(area),
        iscrowd=1 if raw.get("iscrowd") in (1, True, "1") else 0,
        segmentation=segmentation,
        keypoints=keypoints,
        original_id=raw.get("id"),
    )


def _plain(raw: dict[str, Any], label: int, image: ImageRecord) -> Annotation | None:
    """A box inside its image, as most are, in a quarter of the time; None for what needs a closer look."""
    box: Any = raw.get("bbox")
    area: Any = raw.get("area")
    if (
        type(box) is not list
        or len(box) != 4
        or not _NUMBERS.issuperset(map(type, box))
        or "bbox_format" in raw
    ):
        return None
    x, y, w, h = box
    # Not so for NaN, nor where a side is lost in rounding.
    if not (0 <= x < x + w <= image.width and 0 <= y < y + h <= image.height):
        return None
    w, h = float(w), float(h)
    return Annotation(
        label,
        (float(x), float(y), w, h),
        float(area) if type(area) in _NUMBERS and 0 < area < math.inf else w * h,
        1 if raw.get("iscrowd") in (1, True, "1") else 0,
        None,
        None,
        raw.get("id"),
    )


def _corners(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _box(
    raw: dict[str, Any], segmentation: Any, keypoints: list[float] | None, where: str, problems: Problems
) -> tuple[float, float, float, float] | None:
    given = raw.get("bbox")
    if given:
        if not (isinstance(given, (list, tuple)) and len(given) == 4 and all(map(_number, given))):
            problems.error("bbox must be four numbers", f"{where}: {given!r}", "annotation_invalid")
            return None
        a, b, c, d = (float(n) for n in given)
        form = str(raw.get("bbox_format") or "xywh").lower()
        if form == "xyxy":
            return a, b, c - a, d - b
        if form == "cxcywh":
            return a - c / 2, b - d / 2, c, d
        if form != "xywh":
            problems.error(
                f"bbox_format must be one of {', '.join(BOX_FORMATS)}",
                f"{where}: {form!r}",
                "annotation_invalid",
            )
            return None
        return a, b, c, d
    if segmentation:
        box = segmentation_box(segmentation)
        if box is None:
            problems.note("annotations with an empty mask skipped", where, "mask_empty")
        return box
    if keypoints and any(keypoints[2::3]):
        xs, ys = (
            [value for value, seen in zip(keypoints[axis::3], keypoints[2::3], strict=True) if seen]
            for axis in (0, 1)
        )
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    problems.note("annotations with neither bbox nor segmentation nor keypoints skipped", where, "mask_empty")
    return None


def _segmentation(
    given: Any, image: ImageRecord, where: str, problems: Problems
) -> list[list[float]] | dict[str, Any] | None:
    if not given:
        return None
    if isinstance(given, dict):
        try:
            # Before the runs are unrolled: the size is the file's word, and may be any.
            if list(given["size"]) != [image.height, image.width]:
                raise ValueError(f"size {given['size']} is not the image's {image.height} x {image.width}")
            rle_mask(given)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            problems.error("segmentation is no valid RLE", f"{where}: {error}", "annotation_invalid")
            return None
        return {"size": [image.height, image.width], "counts": given["counts"]}
    if not isinstance(given, list):
        problems.error(
            "segmentation must be polygons or an RLE object",
            f"{where}: {type(given).__name__}",
            "annotation_invalid",
        )
        return None
    kept = []
    for polygon in _polygons(given):
        if not all(map(_number, polygon)):
            problems.error("segmentation must hold numbers", where, "annotation_invalid")
            return None
        if len(polygon) < 6 or len(polygon) % 2:
            problems.note(
                "polygons with fewer than three points, or half a point, dropped", where, "polygon_short"
            )
            continue
        limits = (image.width, image.height)
        kept.append([min(max(float(n), 0.0), limits[i % 2]) for i, n in enumerate(polygon)])
    return kept or None


def _polygons(given: list[Any]) -> list[list[Any]]:
    """Polygons from one flat list, a list of flat lists, or lists of points."""
    if not isinstance(given[0], (list, tuple)):
        return [given]
    if all(isinstance(point, (list, tuple)) and len(point) == 2 for point in given):
        return [_flat(given)]
    return [_flat(polygon) for polygon in given]


def _flat(polygon: Any) -> list[Any]:
    if not isinstance(polygon, (list, tuple)):
        return [None]
    return [n for part in polygon for n in (part if isinstance(part, (list, tuple)) else (part,))]


def _keypoints(given: Any, where: str, problems: Problems) -> list[float] | None:
    """Flat triples; ``[x, y]`` pairs get visibility 2, points given as null are not labelled."""
    if not given:
        return None
    if not isinstance(given, list):
        problems.error("keypoints must be a list", where, "annotation_invalid")
        return None
    flat: list[Any] = []
    if all(point is None or (isinstance(point, (list, tuple)) and len(point) in (2, 3)) for point in given):
        for point in given:
            full = [0, 0, 0] if point is None else [*point, 2] if len(point) == 2 else list(point)
            flat.extend(full)
    else:
        flat = given
    if len(flat) % 3 or not all(map(_number, flat)):
        problems.error("keypoints must be triples x, y, visibility", where, "annotation_invalid")
        return None
    if any(visible not in (0, 1, 2) for visible in flat[2::3]):
        problems.error(
            "visibility of a keypoint must be 0 (not labelled), 1 (hidden) or 2 (visible)",
            where,
            "annotation_invalid",
        )
        return None
    return [float(n) for n in flat]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
