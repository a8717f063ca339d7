"""What a model answers, in plain types."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

UNKNOWN = 255
"""The value of a pixel of no class in a segmentation."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, or its ground truth. Arrays of one image have the same N; all px are the image's own.

    Attributes:
        path: the image's file, None for an array.
        size: (width, height) in px.
        boxes: (N, 4) float32, x1 y1 x2 y2 in px.
        scores: (N,) float32 from 0 to 1; NaN in ground truth.
        labels: (N,) int64 into ``classes``; -1 where nothing is classified (pose).
        classes: the names of all classes.
        masks: (N, H, W) bool, or None.
        segmentation: (H, W) class indices, 255 where nothing is known, or None.
        keypoints: (N, K, 3) float32, x y in px and a score from 0 to 1, or None.
        probabilities: (C, H, W) float32 behind ``segmentation``; only on the way to being merged.
    """

    path: str | None
    size: tuple[int, int]
    classes: tuple[str, ...]
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    masks: np.ndarray | None = None
    segmentation: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class name of each instance; empty where nothing is classified."""
        return [self.classes[label] if label >= 0 else "" for label in self.labels]

    def above(self, threshold: float) -> Prediction:
        """Only the instances that score ``threshold`` or more, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return self.kept(order[self.scores[order] >= threshold])

    def only(self, labels: Collection[int]) -> Prediction:
        """Only the instances, or the pixels, of some classes; what isn't classified stays."""
        if self.segmentation is not None:
            others = ~np.isin(self.segmentation, list(labels))
            return replace(self, segmentation=np.where(others, UNKNOWN, self.segmentation).astype(np.uint8))
        return self.kept(np.flatnonzero((self.labels < 0) | np.isin(self.labels, list(labels))))

    def kept(self, indices: np.ndarray) -> Prediction:
        """The instances at ``indices``, in that order."""
        return replace(
            self,
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            labels=self.labels[indices],
            masks=None if self.masks is None else self.masks[indices],
            keypoints=None if self.keypoints is None else self.keypoints[indices],
        )

    def to_json(self) -> dict[str, Any]:
        """COCO-like: category ids from 1 in the classes' order, ``bbox`` as x y width height in px, masks as RLE.

        A segmentation map comes as ``segments``: area in px and RLE of each class that is there.
        """
        content: dict[str, Any] = {"file": self.path, "width": self.size[0], "height": self.size[1]}
        if self.segmentation is not None:
            return {**content, "segments": self._segments(self.segmentation)}
        return {**content, "predictions": [self._instance(index) for index in range(len(self))]}

    def _instance(self, index: int) -> dict[str, Any]:
        x1, y1, x2, y2 = (round(float(value), 2) for value in self.boxes[index])
        instance: dict[str, Any] = {
            **_category(self.classes, int(self.labels[index])),
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(float(self.scores[index]), 5),
        }
        if self.masks is not None:
            instance["segmentation"] = encode_mask(self.masks[index])
        if self.keypoints is not None:
            instance["keypoints"] = [round(float(value), 3) for value in self.keypoints[index].ravel()]
        return instance

    def _segments(self, segmentation: np.ndarray) -> list[dict[str, Any]]:
        present = [int(label) for label in np.unique(segmentation) if label < len(self.classes)]
        return [
            {
                **_category(self.classes, label),
                "area": int((segmentation == label).sum()),
                "segmentation": encode_mask(segmentation == label),
            }
            for label in present
        ]


def joined(parts: Sequence[Prediction]) -> Prediction:
    """One answer for an image, of a top-down model's several."""
    first = parts[0]
    if len(parts) == 1:
        return first
    names = ("boxes", "scores", "labels", "keypoints")
    return replace(first, **{name: np.concatenate([getattr(one, name) for one in parts]) for name in names})


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A (H, W) mask as COCO's compressed RLE, the counts as text."""
    from faster_coco_eval import mask as rle

    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = encoded["counts"]
    return {
        "size": [int(side) for side in encoded["size"]],
        "counts": counts.decode() if isinstance(counts, bytes) else counts,
    }


def decode_mask(encoded: dict[str, Any]) -> np.ndarray:
    """The (H, W) bool mask of COCO's RLE."""
    from faster_coco_eval import mask as rle

    return rle.decode(encoded).astype(bool)


def _category(classes: tuple[str, ...], label: int) -> dict[str, Any]:
    if label < 0:
        return {}
    return {"category_id": label + 1, "category_name": classes[label]}
