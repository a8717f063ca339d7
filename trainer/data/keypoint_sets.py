"""Keypoint sets: names, skeleton, flip pairs and OKS sigmas from what a category says, else from what is usual."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trainer.data.bundle import Keypoints

_COCO_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO_NAMES = ["nose", *(f"{side}_{part}" for part in _COCO_PARTS for side in ("left", "right"))]
# One-based, as COCO's file has it.
_COCO_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
_DEFAULT_SIGMA = 0.05
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def keypoint_set(category: dict[str, Any], count: int) -> Keypoints:
    """The set of ``count`` points that ``category`` (a COCO or DICE category) describes.

    Raises:
        ValueError: the category's own words contradict ``count`` or each other.
    """
    given = category.get("keypoints")
    if given and len(given) != count:
        raise ValueError(
            f"category {category.get('name')!r} names {len(given)} keypoints, annotations have {count}"
        )
    names = (
        [str(name) for name in given]
        if given
        else _COCO_NAMES
        if count == 17
        else [f"kp{i}" for i in range(count)]
    )
    if len(set(names)) != len(names):
        raise ValueError(f"category {category.get('name')!r} names a keypoint twice")
    skeleton = category.get("skeleton")
    if not skeleton and list(names) == _COCO_NAMES:
        skeleton = _COCO_SKELETON
    sigmas = category.get("sigmas") or (_COCO_SIGMAS if count == 17 else [_DEFAULT_SIGMA] * count)
    if len(sigmas) != count or not all(isinstance(s, (int, float)) and s > 0 for s in sigmas):
        raise ValueError(f"category {category.get('name')!r}: sigmas must be {count} positive numbers")
    flip = category.get("flip_idx")
    return Keypoints(
        names=tuple(names),
        skeleton=_zero_based(skeleton or (), count, category.get("name")),
        flip_pairs=_swapped(flip, count, category.get("name")) if flip else flip_pairs(names),
        sigmas=tuple(float(s) for s in sigmas),
    )


def keypoint_order(names: Iterable[str]) -> list[str]:
    """Names in an order that follows from them alone: COCO's where all are COCO's, else ``p2`` before ``p10``."""
    given = set(names)
    if given <= set(_COCO_NAMES):
        return [name for name in _COCO_NAMES if name in given]

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]{1,9})", name)
        return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts if p]

    return sorted(given, key=lambda name: (key(name), name))


def flip_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Index pairs of names that differ in left and right only (``left_eye``/``right_eye``, ``hip_l``/``hip_r``)."""
    index = {name.lower(): i for i, name in enumerate(names)}
    pairs = set()
    for name, i in index.items():
        other = index.get(_mirrored(name))
        if other is not None and other != i:
            pairs.add((min(i, other), max(i, other)))
    return tuple(sorted(pairs))


def _swapped(flip: Sequence[int], count: int, name: Any) -> tuple[tuple[int, int], ...]:
    """Pairs from the index that each point has after a flip (``flip_idx`` of YOLO's data.yaml)."""
    if sorted(flip) != list(range(count)) or any(flip[other] != i for i, other in enumerate(flip)):
        raise ValueError(f"category {name!r}: flip_idx must exchange {count} keypoints in pairs")
    return tuple((i, other) for i, other in enumerate(flip) if i < other)


def _mirrored(name: str) -> str:
    parts = re.split(r"([^a-z]+)", name)
    return "".join(_SIDES.get(part, part) for part in parts)


def _zero_based(skeleton: Sequence[Sequence[int]], count: int, name: Any) -> tuple[tuple[int, int], ...]:
    """COCO counts from 1; a 0 anywhere shows a file that counts from 0."""
    bones = [(int(bone[0]), int(bone[1])) for bone in skeleton]
    shift = 0 if any(0 in bone for bone in bones) else 1
    if any(not 0 <= end - shift < count for bone in bones for end in bone):
        raise ValueError(f"category {name!r}: the skeleton names a keypoint that isn't there")
    return tuple((a - shift, b - shift) for a, b in bones)
