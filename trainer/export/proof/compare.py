"""How far apart a file's outputs and PyTorch's are, when each answer is compared with the one that it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Outputs = Mapping[str, np.ndarray]
SAME = 0.5
"""Two boxes of one class that overlap by so much may be the same answer."""
NEAR = 0.01
"""Keypoints so near to each other, as a share of the input's longer side, are the same answer: where two places of a
heat map are equally good, either may be named."""


@dataclass(frozen=True)
class Difference:
    """One output: the largest and the mean absolute difference of what is compared, and the largest answer itself."""

    output: str
    largest: float
    mean: float
    magnitude: float
    whole: bool  # of whole numbers: classes, or masks in 255 steps

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest answer."""
        return self.largest / self.magnitude if self.magnitude > 0 else self.largest


@dataclass(frozen=True)
class Agreement:
    """How many answers PyTorch and the file have, and how many of them are the same.

    An answer is a detected object; of a segmentation a pixel, of a top-down pose model a keypoint.

    Attributes:
        iou: mean and lowest overlap of the boxes, or the masks, that are the same object; None without.
        score: largest difference of their scores; None without.
        pixels: largest difference of their coordinates in px; None without.
    """

    expected: int
    found: int
    matched: int
    iou_mean: float | None = None
    iou_lowest: float | None = None
    score: float | None = None
    pixels: float | None = None

    @property
    def share(self) -> float:
        """Of all answers of either, those that both have; 1 where there are none."""
        return self.matched / max(self.expected, self.found) if max(self.expected, self.found) else 1.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "share": self.share}


def compare(
    expected: Sequence[Outputs], found: Sequence[Outputs], side: int, border: float = 0.0
) -> tuple[list[Difference], Agreement]:
    """Compare outputs batch by batch.

    Args:
        expected: PyTorch's; the keys are those of ``found``.
        side: the input's longer side in px.
        border: objects that score no more than so much above nothing may be missing on one side: they lie at the
            threshold.

    Raises:
        ValueError: an output has another shape.
    """
    for mine, its in zip(expected, found, strict=True):
        for name in mine:
            if mine[name].shape != its[name].shape:
                raise ValueError(
                    f"{name} has the shape {its[name].shape} in the file and {mine[name].shape} in torch"
                )
    names = list(expected[0])
    if "scores" in names and "boxes" in names:
        return _objects(expected, found, names, border)
    if "keypoints" in names:
        return _keypoints(expected, found, NEAR * side)
    return _dense(expected, found, names)


def _objects(
    expected: Sequence[Outputs], found: Sequence[Outputs], names: list[str], border: float
) -> tuple[list[Difference], Agreement]:
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in names}
    mine_count = its_count = matched = 0
    ious: list[float] = []
    for mine, its in zip(expected, found, strict=True):
        for image in range(len(mine["scores"])):
            a = {name: values[image] for name, values in mine.items()}
            b = {name: values[image] for name, values in its.items()}
            left, right, lone_a, lone_b = _paired(a, b, border)
            mine_count += len(left) + lone_a
            its_count += len(right) + lone_b
            matched += len(left)
            for name in names:
                pairs[name].append((a[name][left], b[name][right]))
            for i, j in zip(left, right, strict=True):
                ious.append(
                    _mask_iou(a["masks"][i], b["masks"][j])
                    if "masks" in a
                    else _iou(a["boxes"][i : i + 1], b["boxes"][j : j + 1])[0, 0]
                )
    joined = {
        name: (np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))
        for name, parts in pairs.items()
    }
    differences = [_difference(name, *both) for name, both in joined.items()]
    by_name = {one.output: one for one in differences}
    return differences, Agreement(
        mine_count,
        its_count,
        matched,
        float(np.mean(ious)) if ious else None,
        float(np.min(ious)) if ious else None,
        by_name["scores"].largest,
        max(by_name[name].largest for name in ("boxes", "keypoints") if name in by_name),
    )


def _paired(a: Outputs, b: Outputs, border: float) -> tuple[list[int], list[int], int, int]:
    """Rows of the same object on both sides, nearest first, and how many on either side have no other."""
    mine, its = np.flatnonzero(a["scores"] > 0), np.flatnonzero(b["scores"] > 0)
    overlap = _iou(a["boxes"][mine], b["boxes"][its])
    apart = np.abs(a["boxes"][mine][:, None] - b["boxes"][its][None]).max(-1)
    apart = apart + 100 * np.abs(a["scores"][mine][:, None] - b["scores"][its][None])
    allowed = overlap >= SAME
    # A box without area overlaps nothing, not even itself.
    allowed |= apart < 1e-2
    if "labels" in a:
        allowed &= a["labels"][mine][:, None] == b["labels"][its][None]
    left, right = [], []
    free_mine, free_its = np.ones(len(mine), bool), np.ones(len(its), bool)
    for flat in np.argsort(np.where(allowed, apart, np.inf), axis=None, kind="stable"):
        i, j = np.unravel_index(flat, apart.shape)
        if not allowed[i, j]:
            break
        if free_mine[i] and free_its[j]:
            left.append(int(mine[i]))
            right.append(int(its[j]))
            free_mine[i] = free_its[j] = False
    lone = [
        int((side["scores"][rows][free] > _lowest(side) + border).sum())
        for side, rows, free in ((a, mine, free_mine), (b, its, free_its))
    ]
    return left, right, lone[0], lone[1]


def _lowest(side: Outputs) -> float:
    """The score at which an image's objects are cut off: by the threshold, or by the number of rows."""
    scores = side["scores"]
    return float(scores[scores > 0].min(initial=np.inf))


def _keypoints(
    expected: Sequence[Outputs], found: Sequence[Outputs], near: float
) -> tuple[list[Difference], Agreement]:
    mine = np.concatenate([one["keypoints"].reshape(-1, 3) for one in expected])
    its = np.concatenate([one["keypoints"].reshape(-1, 3) for one in found])
    apart = np.abs(mine[:, :2] - its[:, :2]).max(-1)
    same = apart <= near
    points = _difference("keypoints", mine[same, :2], its[same, :2])
    scores = _difference("keypoint scores", mine[same, 2], its[same, 2])
    agreement = Agreement(len(mine), len(its), int(same.sum()), score=scores.largest, pixels=points.largest)
    return [points, scores], agreement


def _dense(
    expected: Sequence[Outputs], found: Sequence[Outputs], names: list[str]
) -> tuple[list[Difference], Agreement]:
    differences = [
        _difference(
            name,
            np.concatenate([one[name].ravel() for one in expected]),
            np.concatenate([one[name].ravel() for one in found]),
        )
        for name in names
    ]
    classes = [
        (one["segmentation"], other["segmentation"]) for one, other in zip(expected, found, strict=True)
    ]
    total = sum(one.size for one, _ in classes)
    return differences, Agreement(total, total, sum(int((one == other).sum()) for one, other in classes))


def _difference(name: str, mine: np.ndarray, its: np.ndarray) -> Difference:
    whole = mine.dtype.kind in "iu"
    a, b = mine.astype(np.float64), its.astype(np.float64)
    if not a.size:
        return Difference(name, 0.0, 0.0, 0.0, whole)
    apart = np.abs(a - b)
    return Difference(name, float(apart.max()), float(apart.mean()), float(np.abs(a).max()), whole)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M)."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.prod(np.clip(corner, 0, None), axis=-1)
    area_a, area_b = (np.prod(np.clip(one[:, 2:] - one[:, :2], 0, None), axis=-1) for one in (a, b))
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def _mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    mine, its = a >= 128, b >= 128
    union = int((mine | its).sum())
    return int((mine & its).sum()) / union if union else 1.0
