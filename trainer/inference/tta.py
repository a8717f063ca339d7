"""Looking at an image in several ways, mirrored, smaller or tile by tile, and telling it all in the image's own px."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from trainer.predictions.prediction import Prediction

Window = tuple[int, int, int, int]
"""x1 y1 x2 y2 in px, the ends not included."""
SMALLER = 0.8
"""How large things are in the smaller copy that test-time augmentation looks at."""
_GREY = (114, 114, 114)


@dataclass(frozen=True)
class ImageView:
    """One way to look at an image: a window of it, perhaps mirrored, perhaps with a margin that makes all smaller."""

    window: Window
    mirrored: bool = False
    scale: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the window in px."""
        x1, y1, x2, y2 = self.window
        return x2 - x1, y2 - y1

    def of(self, image: np.ndarray) -> np.ndarray:
        """What is seen of ``image`` (H, W, 3)."""
        x1, y1, x2, y2 = self.window
        seen = image[y1:y2, x1:x2]
        if self.mirrored:
            seen = seen[:, ::-1]
        if self.scale < 1:
            width, height = self.size
            right, below = (round(side / self.scale) - side for side in (width, height))
            seen = cv2.copyMakeBorder(
                np.ascontiguousarray(seen), 0, below, 0, right, cv2.BORDER_CONSTANT, value=_GREY
            )
        return np.ascontiguousarray(seen)

    def boxes_of(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) of the image as they are seen; only for a window that is the whole image."""
        if not self.mirrored:
            return boxes
        return _mirrored_boxes(boxes, self.size[0])

    def undo(self, seen: Prediction, flip_pairs: Sequence[tuple[int, int]] = ()) -> Prediction:
        """An answer for what was seen, in px of the window."""
        width, height = self.size
        if self.scale < 1:
            seen = _cropped(seen, width, height)
        return _mirrored(seen, flip_pairs) if self.mirrored else seen


def views(tta: bool, mirrors: bool, top_down: bool) -> list[tuple[bool, float]]:
    """(mirrored, scale) of each look at a window: one as it is, with ``tta`` also mirrored and in a smaller copy.

    Args:
        mirrors: whether what is seen in a mirror is of the same class; digits and signs are not.
        top_down: the model looks at boxes, so that a smaller copy makes no difference.
    """
    if not tta:
        return [(False, 1.0)]
    scales = (1.0,) if top_down else (1.0, SMALLER)
    return [(mirrored, scale) for scale in scales for mirrored in ((False, True) if mirrors else (False,))]


def windows(width: int, height: int, tile: int, overlap: float) -> list[Window]:
    """Square windows that cover an image, row by row; the last ones end where the image does."""
    return [
        (x, y, min(x + tile, width), min(y + tile, height))
        for y in _starts(height, tile, overlap)
        for x in _starts(width, tile, overlap)
    ]


def _starts(length: int, tile: int, overlap: float) -> Iterator[int]:
    step = max(1, round(tile * (1 - overlap)))
    start = 0
    while start + tile < length:
        yield start
        start += step
    yield max(0, length - tile)


def _mirrored_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    mirrored = boxes.copy()
    mirrored[:, [0, 2]] = width - boxes[:, [2, 0]]
    return mirrored


def _mirrored(seen: Prediction, flip_pairs: Sequence[tuple[int, int]]) -> Prediction:
    width = seen.size[0]
    keypoints = seen.keypoints
    if keypoints is not None:
        order = np.arange(keypoints.shape[1])
        for a, b in flip_pairs:
            order[[a, b]] = b, a
        keypoints = keypoints[:, order].copy()
        keypoints[..., 0] = width - 1 - keypoints[..., 0]
    return replace(
        seen,
        boxes=_mirrored_boxes(seen.boxes, width),
        masks=None if seen.masks is None else seen.masks[:, :, ::-1],
        segmentation=None if seen.segmentation is None else seen.segmentation[:, ::-1],
        probabilities=None if seen.probabilities is None else seen.probabilities[:, :, ::-1],
        keypoints=keypoints,
    )


def _cropped(seen: Prediction, width: int, height: int) -> Prediction:
    """Without the margin at the right and below; instances that lie in it are left out."""
    boxes = np.clip(seen.boxes, 0, np.array([width, height] * 2, np.float32))
    inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    cropped = replace(
        seen,
        size=(width, height),
        boxes=boxes,
        masks=None if seen.masks is None else seen.masks[:, :height, :width],
        segmentation=None if seen.segmentation is None else seen.segmentation[:height, :width],
        probabilities=None if seen.probabilities is None else seen.probabilities[:, :height, :width],
    )
    return cropped.kept(inside)
