"""A model without a network: it finds rectangles of plain colours on black, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.inference.predictor_base import BasePredictor
from trainer.predictions.prediction import Prediction

CLASSES = ("blue", "green", "red")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # BGR


class Squares(BasePredictor):
    """Every connected area of a colour is an instance; its score is the share of its box that it fills.

    ``batches`` are the sizes of the forward passes so far.
    """

    def __init__(self, task: str = "detection") -> None:
        self.task, self.name, self.dataset = task, "squares", "rectangles"
        self.classes = ("background", *CLASSES) if task == "semantic_segmentation" else CLASSES
        self.palette = tuple(colour[::-1] for colour in COLOURS)
        self.keypoints = ("left", "right") if task == "pose" else ()
        self.skeleton = [(0, 1)] if task == "pose" else []
        self.flip_pairs = [(0, 1)] if task == "pose" else []
        self.about: dict[str, Any] = {"run_id": None}
        self.epoch, self.notes = None, []
        self.found = ResolvedCheckpoint(Path("squares.pth"), None)
        self.batches: list[int] = []

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        if boxes is None:
            return [image]
        return [(image, box) for box in boxes]

    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        self.batches.append(len(prepared))
        return [self._answer(one) for one in prepared]

    def _answer(self, item: Any) -> Prediction:
        if self.top_down:
            return self._points(*item)
        size = item.shape[1::-1]
        if self.task == "semantic_segmentation":
            channels = np.stack([(item == 0).all(-1), *((item == colour).all(-1) for colour in COLOURS)])
            channels = channels.astype(np.float32)
            return Prediction(
                None,
                size,
                self.classes,
                segmentation=channels.argmax(0).astype(np.uint8),
                probabilities=channels,
            )
        boxes, scores, labels, masks = [], [], [], []
        for label, colour in enumerate(COLOURS):
            count, places, stats, _ = cv2.connectedComponentsWithStats(
                (item == colour).all(-1).astype(np.uint8), connectivity=4
            )
            for index in range(1, count):
                x, y, width, height, area = (int(value) for value in stats[index])
                boxes.append([x, y, x + width, y + height])
                scores.append(area / (width * height))
                labels.append(label)
                masks.append(places == index)
        shape = (len(boxes), size[1], size[0])
        found = np.array(boxes, np.float32).reshape(-1, 4)
        middle = (found[:, 1] + found[:, 3]) / 2
        points = np.stack([np.stack([found[:, 0], middle], 1), np.stack([found[:, 2] - 1, middle], 1)], 1)
        return Prediction(
            None,
            size,
            self.classes,
            found,
            np.array(scores, np.float32),
            np.array(labels, np.int64),
            np.array(masks, bool).reshape(shape) if self.task == "instance_segmentation" else None,
            keypoints=np.dstack([points, np.ones((len(boxes), 2, 1), np.float32)])
            if self.task == "pose"
            else None,
        )

    def _points(self, image: np.ndarray, box: np.ndarray) -> Prediction:
        """The first and the last column of the box that is coloured."""
        x1, y1, x2, y2 = (int(side) for side in box)
        columns = np.flatnonzero(image[y1:y2, x1:x2].any((0, 2)))
        left, right = (columns[0] + x1, columns[-1] + x1) if len(columns) else (x1, x2)
        middle = (y1 + y2) / 2
        points = np.array([[[left, middle, 0.9], [right, middle, 0.9]]], np.float32)
        size = image.shape[1::-1]
        return Prediction(
            None,
            size,
            self.classes,
            box[None].astype(np.float32),
            np.full(1, 0.9, np.float32),
            np.full(1, -1),
            keypoints=points,
        )


def scene(width: int, height: int, rectangles: Sequence[tuple[int, int, int, int, int]]) -> np.ndarray:
    """A black image with filled rectangles ``(label, x1, y1, x2, y2)``."""
    image = np.zeros((height, width, 3), np.uint8)
    for label, x1, y1, x2, y2 in rectangles:
        image[y1:y2, x1:x2] = COLOURS[label]
    return image


def as_set(prediction: Prediction) -> set[tuple[float, ...]]:
    """Instances as ``(label, x1, y1, x2, y2)``, whatever their order."""
    return {
        (int(label), *(round(float(side), 3) for side in box))
        for label, box in zip(prediction.labels, prediction.boxes, strict=True)
    }
