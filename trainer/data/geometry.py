"""Boxes, polygons and run-length masks in numpy, so that preparing data needs neither pycocotools nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Mask = np.ndarray


def polygon_mask(polygon: Sequence[float], height: int, width: int) -> Mask:
    """Boolean (height, width): pixels whose centre lies inside ``[x1, y1, x2, y2, ...]`` (even-odd rule)."""
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    x0, y0 = points.T
    x1, y1 = np.roll(points, -1, axis=0).T
    # Always from above, so that an edge gone there and back crosses each row at the same place twice, and cancels.
    up = y0 > y1
    x0, y0, x1, y1 = (np.where(up, b, a) for a, b in ((x0, x1), (y0, y1), (x1, x0), (y1, y0)))
    first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y1 - 0.5), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    # Each crossing turns inside to outside for all pixels to its right.
    turns = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    odd = (turns & 1).astype(np.uint8).reshape(height, width + 1)
    return np.bitwise_xor.accumulate(odd, axis=1)[:, :width].astype(bool)


def segmentation_mask(segmentation: list[list[float]] | dict[str, Any], height: int, width: int) -> Mask:
    """Boolean (height, width) of polygons (their union) or RLE."""
    if isinstance(segmentation, dict):
        return rle_mask(segmentation)
    mask = np.zeros((height, width), bool)
    for polygon in segmentation:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        left, top = np.clip(np.floor(points.min(0)), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(points.max(0)), 0, (width, height)).astype(int)
        part = polygon_mask((points - (left, top)).ravel(), bottom - top, right - left)
        mask[top:bottom, left:right] |= part
    return mask


def rle_mask(rle: dict[str, Any]) -> Mask:
    """Boolean mask of a COCO RLE object, counts as a list or as COCO's compressed text.

    Raises:
        ValueError: the counts don't fill ``size`` = [height, width].
    """
    height, width = (int(n) for n in rle["size"])
    counts = rle["counts"]
    runs = np.asarray(_runs(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"RLE counts don't add up to {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def mask_rle(mask: Mask) -> dict[str, Any]:
    """The COCO RLE object of a boolean mask, counts as a list."""
    flat = np.asarray(mask, bool).T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    if flat.size and flat[0]:
        runs.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": runs}


def segmentation_area(segmentation: list[list[float]] | dict[str, Any]) -> float:
    """Area in px: the polygons' areas added up, or the RLE's number of pixels."""
    if isinstance(segmentation, dict):
        return float(rle_mask(segmentation).sum())
    return float(sum(polygon_area(polygon) for polygon in segmentation))


def polygon_area(polygon: Sequence[float]) -> float:
    x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def segmentation_box(
    segmentation: list[list[float]] | dict[str, Any],
) -> tuple[float, float, float, float] | None:
    """The tight x, y, width, height, or None for an empty mask."""
    if isinstance(segmentation, dict):
        return mask_box(rle_mask(segmentation))
    points = np.concatenate([np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation])
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return left, top, right - left, bottom - top


def mask_box(mask: Mask) -> tuple[float, float, float, float] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1] + 1) - left, float(rows[-1] + 1) - top


def clip_box(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float] | None:
    """The part of x, y, width, height inside the image, or None when nothing is left."""
    x, y, w, h = box
    left, top = min(max(x, 0.0), width), min(max(y, 0.0), height)
    right, bottom = min(max(x + w, 0.0), width), min(max(y + h, 0.0), height)
    if w <= 0 or h <= 0 or right - left <= 0 or bottom - top <= 0:
        return None
    if (left, top, right, bottom) == (x, y, x + w, y + h):
        return x, y, w, h  # untouched: subtracting again would change the last decimals
    return left, top, right - left, bottom - top


def _runs(text: str) -> list[int]:
    """COCO's compressed counts: 5 bits a character with a continuation bit, from the third on relative to two back."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(text):
                raise ValueError("RLE text ends inside a number")
            char = ord(text[at]) - 48
            if not 0 <= char < 64:
                raise ValueError(f"RLE text holds {text[at]!r}")
            value |= (char & 0x1F) << shift
            more = bool(char & 0x20)
            at += 1
            shift += 5
            if shift > 60:
                raise ValueError("RLE text holds a number that is too large")
            if not more and char & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
