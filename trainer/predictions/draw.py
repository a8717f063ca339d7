"""Pictures of answers: boxes, masks, segmentation maps and keypoints with labels that can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.core.errors import DatasetError
from trainer.predictions.prediction import Prediction

SMALLEST = 480
"""The longer side, in px, that a picture is enlarged to before anything is drawn on it."""
_FILL = 0.45
_SPARE = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
)

Colour = tuple[int, ...]
Palette = Sequence[Colour]


def read_image(path: str | Path) -> np.ndarray:
    """An image file as a (H, W, 3) uint8 array in BGR order.

    Raises:
        DatasetError: it is not there or can't be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path} can't be read as an image")
    return image


def draw_prediction(
    image: np.ndarray,
    prediction: Prediction,
    palette: Palette = (),
    skeleton: Sequence[tuple[int, int]] = (),
    threshold: float = 0.0,
) -> np.ndarray:
    """``image`` with an answer, or with ground truth, drawn on it.

    Args:
        image: (H, W, 3) uint8, BGR.
        palette: RGB of each class.
        skeleton: pairs of keypoint indices to join.
        threshold: the lowest score of a keypoint that is drawn.

    Returns:
        (H * s, W * s, 3) uint8, BGR; ``s`` is the whole number that makes the longer side at least ``SMALLEST`` px.
    """
    scale = max(1, math.ceil(SMALLEST / max(image.shape[:2])))
    height, width = image.shape[0] * scale, image.shape[1] * scale
    canvas = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) if scale > 1 else image.copy()
    if prediction.segmentation is not None:
        labels = _paint_segmentation(canvas, prediction, palette)
    else:
        labels = _paint_instances(canvas, prediction, palette, scale)
    canvas = _write_labels(canvas, labels, _letters(canvas, prediction, scale))
    if prediction.keypoints is not None:  # on top: a label may lie where a point is
        _paint_keypoints(canvas, prediction, skeleton, scale, threshold)
    return canvas


def class_colour(label: int, palette: Palette) -> Colour:
    """The RGB of a class; one of a few well told apart where the palette has none."""
    return tuple(palette[label]) if 0 <= label < len(palette) else _SPARE[label % len(_SPARE)]


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Pillow's own scalable font: the same on every machine."""
    return ImageFont.load_default(size)


Area = tuple[float, float, float, float]  # x1 y1 x2 y2
Label = tuple[str, float, float, Colour]  # text, x and y of the left upper corner of what it names, colour


def _paint_instances(canvas: np.ndarray, prediction: Prediction, palette: Palette, scale: int) -> list[Label]:
    thick = _thickness(canvas, prediction, scale)
    labels: list[Label] = []
    for index in reversed(range(len(prediction))):  # the best ones on top
        # Where nothing is classified, colours tell the instances apart.
        label = int(prediction.labels[index])
        by_class = label >= 0 and len(prediction.classes) > 1
        colour = class_colour(label, palette) if by_class else _SPARE[index % len(_SPARE)]
        if prediction.masks is not None:
            _paint_mask(canvas, prediction.masks[index], colour, max(1, thick - 1))
        x1, y1, x2, y2 = (float(value) * scale for value in prediction.boxes[index])
        cv2.rectangle(
            canvas, (round(x1), round(y1)), (round(x2), round(y2)), colour[::-1], thick, cv2.LINE_AA
        )
        score = float(prediction.scores[index])
        words = [prediction.names[index]] + ([] if math.isnan(score) else [f"{score:.2f}"])
        labels.append((" ".join(word for word in words if word), x1, y1, colour))
    return labels[::-1]


def _paint_mask(canvas: np.ndarray, mask: np.ndarray, colour: Colour, thick: int) -> None:
    large = cv2.resize(mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    _tint(canvas, large.astype(bool), colour)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour[::-1], thick, cv2.LINE_AA)


def _paint_segmentation(canvas: np.ndarray, prediction: Prediction, palette: Palette) -> list[Label]:
    assert prediction.segmentation is not None
    labels: list[Label] = []
    indices = cv2.resize(prediction.segmentation, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    for value in np.unique(indices):
        if value >= len(prediction.classes) or prediction.classes[value] == "background":
            continue
        colour = class_colour(int(value), palette)
        _tint(canvas, indices == value, colour)
        where = (indices == value).astype(np.uint8)
        outlines, _ = cv2.findContours(where, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        thick = max(1, _thickness(canvas, prediction, 1) - 1)
        cv2.drawContours(canvas, outlines, -1, colour[::-1], thick, cv2.LINE_AA)
        x, y, _, _ = cv2.boundingRect(max(outlines, key=cv2.contourArea))
        labels.append((prediction.classes[value], x, y, colour))
    return labels


def _paint_keypoints(
    canvas: np.ndarray,
    prediction: Prediction,
    skeleton: Sequence[tuple[int, int]],
    scale: int,
    threshold: float,
) -> None:
    assert prediction.keypoints is not None
    thick = _thickness(canvas, prediction, scale)
    for points in prediction.keypoints:
        places = [(round(float(x) * scale), round(float(y) * scale)) for x, y, _ in points]
        shown = [bool(score > 0 and score >= threshold) for _, _, score in points]
        for a, b in skeleton:
            if shown[a] and shown[b]:
                cv2.line(canvas, places[a], places[b], (255, 255, 255), thick + 2, cv2.LINE_AA)
                cv2.line(canvas, places[a], places[b], (40, 40, 40), thick, cv2.LINE_AA)
        for index, place in enumerate(places):
            if shown[index]:
                cv2.circle(canvas, place, 2 * thick + 2, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(canvas, place, 2 * thick, _SPARE[index % len(_SPARE)][::-1], -1, cv2.LINE_AA)


def _tint(canvas: np.ndarray, where: np.ndarray, colour: Colour) -> None:
    mixed = canvas[where] * (1 - _FILL) + np.array(colour[::-1]) * _FILL
    canvas[where] = mixed.astype(np.uint8)


def _write_labels(canvas: np.ndarray, labels: list[Label], size: int) -> np.ndarray:
    """Text on its colour above each instance, inside the picture, and beside the labels that are there already."""
    if not labels:
        return canvas
    picture = Image.fromarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB))
    pen = ImageDraw.Draw(picture)
    letters = font(size)
    taken: list[Area] = []
    for text, x, y, colour in labels:
        if not text:
            continue
        width, height = pen.textlength(text, font=letters) + 10, sum(letters.getmetrics()) + 2
        x = min(max(0.0, x), max(0.0, picture.width - width))
        y = _free(x, max(0.0, y - height), width, height, taken, picture.height)
        taken.append((x, y, x + width, y + height))
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x + 5, y + 1), text, fill=_on(colour), font=letters)
    return cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)


def _free(x: float, y: float, width: float, height: float, taken: Sequence[Area], bottom: float) -> float:
    """The place for a label nearest to ``y`` that covers no other: above, where it hides nothing, else below."""
    for down in (False, True):
        place = y
        for _ in range(len(taken) + 1):
            blocking = [
                b for b in taken if x < b[2] and b[0] < x + width and place < b[3] and b[1] < place + height
            ]
            if not blocking:
                return place
            place = max(b[3] for b in blocking) if down else min(b[1] for b in blocking) - height
            if place < 0 or place + height > bottom:
                break
    return y


def _on(colour: Colour) -> Colour:
    """Black or white, whichever is told apart from ``colour``."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _thickness(canvas: np.ndarray, prediction: Prediction, scale: int) -> int:
    """Of lines in px: thin where what is framed is small."""
    side = max(canvas.shape[:2])
    return max(2, round(min(side / 240, _usual_side(prediction, scale, side) / 20)))


def _letters(canvas: np.ndarray, prediction: Prediction, scale: int) -> int:
    """The font's size in px: large enough to be read, and no larger than what it names allows."""
    side = max(canvas.shape[:2])
    smallest, largest = max(12.0, side / 160), max(24.0, side / 60)
    return round(min(largest, max(smallest, 0.35 * _usual_side(prediction, scale, side))))


def _usual_side(prediction: Prediction, scale: int, otherwise: float) -> float:
    """The median of the boxes' sides in px of the picture."""
    if not len(prediction.boxes):
        return otherwise
    sides = prediction.boxes[:, 2:] - prediction.boxes[:, :2]
    return float(np.median(np.sqrt(np.clip(sides.prod(1), 0, None)))) * scale
