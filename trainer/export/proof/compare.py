"""Compare a file's outputs with PyTorch's, each answer with the one for the same object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Outputs = Mapping[str, np.ndarray]
SAME = 0.5
"""From this IoU on, two boxes of one class may be the same object."""
NEAR = 0.01
"""Keypoints at most this far apart, as a share of the input's longer side, are the same: where two places of a heat map
score the same, either may be the answer."""


@dataclass(frozen=True)
class Difference:
    """The difference of one output.

    Attributes:
        largest: the largest absolute difference of the values that were compared.
        mean: the mean absolute difference.
        magnitude: the largest absolute value of PyTorch's.
        whole: whether the values are integers: classes, or masks in 255 steps.
    """

    output: str
    largest: float
    mean: float
    magnitude: float
    whole: bool

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest value."""
        return self.largest / self.magnitude if self.magnitude > 0 else self.largest


@dataclass(frozen=True)
class Agreement:
    """How many answers PyTorch and the file have, and how many of them are the same.

    An answer is a detected object; in semantic segmentation a pixel, in top-down pose estimation a keypoint.

    Attributes:
        expected: the number of PyTorch's answers.
        found: the number of the file's answers.
        matched: the number of answers that both have.
        iou_mean: mean IoU of the matched boxes or masks; None without any.
        iou_lowest: lowest IoU of them; None without any.
        score: largest difference of their scores; None without any.
        pixels: largest difference of their coordinates in px; None without any.
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
        """The matched share of the side with more answers, from 0 to 1; 1 without any."""
        return self.matched / max(self.expected, self.found) if max(self.expected, self.found) else 1.0

    def to_json(self) -> dict[str, Any]:
        """The key ``agreement`` of ``proof.json``."""
        return {**asdict(self), "share": self.share}


def compare(
    expected: Sequence[Outputs], found: Sequence[Outputs], side: int, border: float = 0.0
) -> tuple[list[Difference], Agreement]:
    """Compare outputs batch by batch.

    Args:
        expected: PyTorch's outputs of each batch, arrays (N, ...) by name.
        found: the file's, with the same names.
        side: the input's longer side in px.
        border: an object may be missing on one side if its score is at most this much above the lowest one, since it
            lies at the threshold.

    Returns:
        (the difference of each output, the agreement of the answers)

    Raises:
        ValueError: an output has a different shape.
    """
    for ours, theirs in zip(expected, found, strict=True):
        for name in ours:
            if ours[name].shape != theirs[name].shape:
                raise ValueError(
                    f"{name} has the shape {theirs[name].shape} in the file and {ours[name].shape} in torch"
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
    ours_count = theirs_count = matched = 0
    ious: list[float] = []
    for ours, theirs in zip(expected, found, strict=True):
        for image in range(len(ours["scores"])):
            a = {name: values[image] for name, values in ours.items()}
            b = {name: values[image] for name, values in theirs.items()}
            left, right, unmatched_a, unmatched_b = _paired(a, b, border)
            ours_count += len(left) + unmatched_a
            theirs_count += len(right) + unmatched_b
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
    by_name = {difference.output: difference for difference in differences}
    return differences, Agreement(
        ours_count,
        theirs_count,
        matched,
        float(np.mean(ious)) if ious else None,
        float(np.min(ious)) if ious else None,
        by_name["scores"].largest,
        max(by_name[name].largest for name in ("boxes", "keypoints") if name in by_name),
    )


def _paired(a: Outputs, b: Outputs, border: float) -> tuple[list[int], list[int], int, int]:
    """Rows of the same object on both sides, nearest first, and the number of unmatched rows of each side."""
    ours, theirs = np.flatnonzero(a["scores"] > 0), np.flatnonzero(b["scores"] > 0)
    overlap = _iou(a["boxes"][ours], b["boxes"][theirs])
    distance = np.abs(a["boxes"][ours][:, None] - b["boxes"][theirs][None]).max(-1)
    distance = distance + 100 * np.abs(a["scores"][ours][:, None] - b["scores"][theirs][None])
    allowed = overlap >= SAME
    # A box without area overlaps nothing, not even itself.
    allowed |= distance < 1e-2
    if "labels" in a:
        allowed &= a["labels"][ours][:, None] == b["labels"][theirs][None]
    left, right = [], []
    free_ours, free_theirs = np.ones(len(ours), bool), np.ones(len(theirs), bool)
    for flat in np.argsort(np.where(allowed, distance, np.inf), axis=None, kind="stable"):
        i, j = np.unravel_index(flat, distance.shape)
        if not allowed[i, j]:
            break
        if free_ours[i] and free_theirs[j]:
            left.append(int(ours[i]))
            right.append(int(theirs[j]))
            free_ours[i] = free_theirs[j] = False
    unmatched = [
        int((side["scores"][rows][free] > _lowest(side) + border).sum())
        for side, rows, free in ((a, ours, free_ours), (b, theirs, free_theirs))
    ]
    return left, right, unmatched[0], unmatched[1]


def _lowest(side: Outputs) -> float:
    """The lowest score of an image's objects: the threshold, or the cut by the number of rows."""
    scores = side["scores"]
    return float(scores[scores > 0].min(initial=np.inf))


def _keypoints(
    expected: Sequence[Outputs], found: Sequence[Outputs], near: float
) -> tuple[list[Difference], Agreement]:
    ours = np.concatenate([outputs["keypoints"].reshape(-1, 3) for outputs in expected])
    theirs = np.concatenate([outputs["keypoints"].reshape(-1, 3) for outputs in found])
    distance = np.abs(ours[:, :2] - theirs[:, :2]).max(-1)
    same = distance <= near
    points = _difference("keypoints", ours[same, :2], theirs[same, :2])
    scores = _difference("keypoint scores", ours[same, 2], theirs[same, 2])
    agreement = Agreement(
        len(ours), len(theirs), int(same.sum()), score=scores.largest, pixels=points.largest
    )
    return [points, scores], agreement


def _dense(
    expected: Sequence[Outputs], found: Sequence[Outputs], names: list[str]
) -> tuple[list[Difference], Agreement]:
    differences = [
        _difference(
            name,
            np.concatenate([outputs[name].ravel() for outputs in expected]),
            np.concatenate([outputs[name].ravel() for outputs in found]),
        )
        for name in names
    ]
    maps = [(a["segmentation"], b["segmentation"]) for a, b in zip(expected, found, strict=True)]
    total = sum(a.size for a, _ in maps)
    return differences, Agreement(total, total, sum(int((a == b).sum()) for a, b in maps))


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    whole = ours.dtype.kind in "iu"
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not a.size:
        return Difference(name, 0.0, 0.0, 0.0, whole)
    distance = np.abs(a - b)
    return Difference(name, float(distance.max()), float(distance.mean()), float(np.abs(a).max()), whole)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M)."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.prod(np.clip(corner, 0, None), axis=-1)
    area_a, area_b = (np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1) for boxes in (a, b))
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def _mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    ours, theirs = a >= 128, b >= 128
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0
