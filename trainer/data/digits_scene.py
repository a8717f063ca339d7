"""One scene of the built-in data set: real handwritten digits in light ink on a darkened piece of a photograph.

All labels come from the ink itself, drawn finer than the scene is (four sub-pixels a pixel in small scenes): the box
is its extent, the polygons its outline, the keypoints its outermost points. A polygon can't have a hole, and readers
of polygons drop or mangle outlines that touch themselves, so ink with a hole (0, 6, 8, 9) is cut through the hole
into plain polygons that together cover exactly the ink.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_CELL = 8  # a digit's width and height in load_digits, values 0..16
_SIZES = (28, 56)  # of a digit, in px of a 96 px scene
_SCENE = 96
_INK = 0.5  # of the alpha: what counts as ink
_TRIES = 40
_GAP = 2  # px between two digits' boxes in a 96 px scene
Box = Sequence[float] | np.ndarray
POINTS = ("top", "right", "bottom", "left")


@dataclass(frozen=True)
class Ink:
    """A digit's labels in scene px, and which of the 1,797 it is."""

    digit: int
    label: int
    box: tuple[float, float, float, float]
    area: float
    polygons: list[list[float]]
    points: list[tuple[float, float]]


def compose_scene(
    digits: list[int],
    cells: np.ndarray,
    labels: np.ndarray,
    photo: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[Ink]]:
    """A ``size`` x ``size`` BGR image with ``digits`` (indices into ``cells``) on it, and the labels of those that fit.

    The first digit always fits. ``photo`` is the only part of a photograph that may be seen.
    """
    canvas = _backdrop(photo, size, rng)
    inks: list[Ink] = []
    for digit in digits:
        ink = _place(digit, cells[digit], int(labels[digit]), inks, canvas, rng)
        if ink is not None:
            inks.append(ink)
    return np.rint(canvas.clip(0, 255)).astype(np.uint8), inks


def _backdrop(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of the photograph, flipped or not, at a quarter to half of its brightness."""
    side = int(rng.integers(64, min(photo.shape[:2]) + 1))
    top = int(rng.integers(0, photo.shape[0] - side + 1))
    left = int(rng.integers(0, photo.shape[1] - side + 1))
    crop = photo[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return crop.astype(np.float64) * rng.uniform(0.25, 0.5)


def _place(
    digit: int, cell: np.ndarray, label: int, inks: list[Ink], canvas: np.ndarray, rng: np.random.Generator
) -> Ink | None:
    """Draw a digit where its box keeps clear of all others; None when there is no room after many tries."""
    size = canvas.shape[0]
    gap = _GAP * size / _SCENE
    # Near enough to refuse a place without drawing there: twenty times faster than drawing each try.
    extent = np.array(_extent(_alpha(cell, 4 * _CELL, 4) > _INK, 4)) / _span(4 * _CELL)
    for _ in range(_TRIES):
        side = max(_CELL, round(float(rng.uniform(*_SIZES)) * size / _SCENE))
        span = _span(side)
        x, y = (int(n) for n in rng.integers(0, size - span + 1, 2))
        if not any(_near(extent * span + (x, y, 0, 0), other.box, gap) for other in inks):
            break
    else:
        return None
    # Large ink needs no finer outline, and memory has an end.
    sub = 4 if size <= 256 else 2 if size <= 640 else 1
    alpha = _alpha(cell, side, sub)
    fine = alpha > _INK
    left, top, width, height = _extent(fine, sub)
    cover = alpha.reshape(span, sub, -1).sum(1).reshape(span, span, sub).sum(2)[:, :, None] / sub**2
    color = (rng.uniform(205, 255) + rng.uniform(-25, 25, 3)).clip(0, 255)
    window = canvas[y : y + span, x : x + span]
    window += (color - window) * cover
    return Ink(
        digit=digit,
        label=label,
        box=(x + left, y + top, width, height),
        area=float(fine.sum()) / sub**2,
        polygons=[((p + 0.5) / sub + (x, y)).round(2).ravel().tolist() for p in outlines(fine)],
        points=[(round(px / sub + x, 3), round(py / sub + y, 3)) for px, py in _outermost(fine)],
    )


def _near(a: Box, b: Box, gap: float) -> bool:
    return all(a[i] < b[i] + b[i + 2] + gap and b[i] < a[i] + a[i + 2] + gap for i in (0, 1))


def _span(side: int) -> int:
    """The width of a digit drawn ``side`` px wide, with an empty rim of one cell around it."""
    return round(side * (_CELL + 2) / _CELL)


def _alpha(cell: np.ndarray, side: int, sub: int) -> np.ndarray:
    """The digit drawn ``side`` px wide with its rim, as cover 0..1 in sub-pixels."""
    weights = _spline(_span(side) * sub)
    columns = np.einsum("ij,jk->ki", weights, np.pad(cell, 1))
    smooth = np.einsum("ki,lk->il", columns, weights)
    return ((smooth / 16 - 0.25) / 0.45).clip(0, 1)


@functools.cache
def _spline(n: int) -> np.ndarray:
    """(n, cells with rim) Catmull-Rom weights: smooth, and as sharp as eight cells allow.

    Plain matrices instead of cv2.resize, whose last bits differ between processors, and labels must not.
    """
    cells = _CELL + 2
    at = (np.arange(n) + 0.5) * cells / n - 0.5
    d = np.abs(at[:, None] - np.arange(cells)[None])
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def _extent(fine: np.ndarray, sub: int) -> tuple[float, float, float, float]:
    """The ink's x, y, width, height in px."""
    rows, columns = np.flatnonzero(fine.any(1)), np.flatnonzero(fine.any(0))
    left, top, right, bottom = (int(n) / sub for n in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return left, top, right - left, bottom - top


def outlines(fine: np.ndarray) -> list[np.ndarray]:
    """Polygons (n, 2) in sub-pixel indices that together cover the mask, none with a hole."""
    contours, tree = cv2.findContours(fine.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return []
    holes = [contours[i] for i in range(len(contours)) if tree[0][i][3] >= 0]
    if holes:
        around = max(holes, key=cv2.contourArea)[:, 0, 0]  # columns of the ink around the hole
        first, last = int(around.min()), int(around.max())
        cut = (first + last) // 2
        # The parts share some columns, or simplified outlines would leave a slit; not so many that one holds the hole.
        shared = min(3, cut - first - 1, last - 1 - cut)
        left, right = fine.copy(), fine.copy()
        left[:, cut + shared + 1 :] = False
        right[:, : cut - shared] = False
        return outlines(left) + outlines(right)
    simple = (cv2.approxPolyDP(contour, 1.0, True)[:, 0] for contour in contours)
    return [polygon for polygon in simple if len(polygon) >= 3]


def _outermost(fine: np.ndarray) -> list[tuple[float, float]]:
    """The middle of the ink's first row, last column, last row and first column, in sub-pixels."""
    rows, columns = np.flatnonzero(fine.any(1)), np.flatnonzero(fine.any(0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]

    def middle(line: np.ndarray) -> int:
        ink = np.flatnonzero(line)
        return int(ink[len(ink) // 2])

    spots = (
        (middle(fine[top]), top),
        (right, middle(fine[:, right])),
        (middle(fine[bottom]), bottom),
        (left, middle(fine[:, left])),
    )
    return [(float(x) + 0.5, float(y) + 0.5) for x, y in spots]
