"""Any mask as one closed polygon, for formats that know no other: YOLO's.

Parts and holes are joined by bridges of no width, gone there and back, so the polygon's inside (by the even-odd rule,
which OpenCV, COCO's API and this trainer use) is the same. Parts that overlap, and RLE masks, are traced along the
edges of their pixels, which gives back the same pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.geometry import segmentation_mask

Loop = np.ndarray  # (n, 2) of x, y


def mask_to_polygon(
    segmentation: list[list[float]] | dict[str, Any], height: int, width: int
) -> list[float] | None:
    """``[x1, y1, x2, y2, ...]``, or None for an empty mask."""
    if isinstance(segmentation, dict) or _overlap(segmentation):
        loops = trace(segmentation_mask(segmentation, height, width))
    else:
        loops = [_clockwise(np.asarray(polygon, np.float64).reshape(-1, 2)) for polygon in segmentation]
    if not loops:
        return None
    whole = loops[0]
    for loop in loops[1:]:
        whole = _joined(whole, loop)
    return [float(n) for n in whole.ravel()]


def trace(mask: np.ndarray) -> list[Loop]:
    """The boundaries of a boolean mask in pixel corners; holes run against their outlines."""
    padded = np.pad(mask.astype(bool), 1)
    inner = padded[1:-1, 1:-1]
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Each side of a pixel that borders on another value, the inside always to the right of the way.
    for (dy, dx), (x0, y0), (x1, y1) in _SIDES:
        beyond = padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx]
        for y, x in np.argwhere(inner & ~beyond).tolist():
            following.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    loops = []
    while following:
        start = at = next(iter(following))
        points: list[tuple[int, int]] = []
        while True:
            ways = following[at]
            way = ways.pop()
            if not ways:
                del following[at]
            # Corners only: a point on a straight line says nothing.
            if len(points) > 1 and _straight(points[-2], points[-1], at):
                points[-1] = at
            else:
                points.append(at)
            at = way
            if at == start:
                break
        if len(points) > 2 and _straight(points[-2], points[-1], start):
            points.pop()
        loops.append(np.asarray(points, np.float64))
    return sorted(loops, key=len, reverse=True)


_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
    ((0, 1), (1, 0), (1, 1)),
)


def _straight(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    return (b[0] - a[0]) * (c[1] - b[1]) == (b[1] - a[1]) * (c[0] - b[0])


def _joined(whole: Loop, loop: Loop) -> Loop:
    """Both as one, by the shortest way from a corner to a corner and back."""
    distances = ((whole[:, None] - loop[None]) ** 2).sum(-1)
    i, j = np.unravel_index(int(distances.argmin()), distances.shape)
    return np.concatenate([whole[: i + 1], loop[j:], loop[: j + 1], whole[i:]])


def _clockwise(loop: Loop) -> Loop:
    """All parts in the same sense, so that the area of the joined polygon is their sum."""
    x, y = loop.T
    return loop if np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)) >= 0 else loop[::-1]


def _overlap(polygons: list[list[float]]) -> bool:
    """Whether any two parts may share pixels: their boxes do."""
    boxes = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    corners = [(points.min(0), points.max(0)) for points in boxes]
    return any(
        bool((low < other_high).all() and (other_low < high).all())
        for k, (low, high) in enumerate(corners)
        for other_low, other_high in corners[:k]
    )
