"""What the model in MLflow is asked and answers: images in, plain JSON out. Imports neither torch nor mlflow."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.core.errors import DatasetError
from trainer.predictions.prediction import Prediction, encode_mask

CHANNELS = ("BGR", "RGB")
COLUMN = "image"
_LONGEST_PATH = 4096


def read_images(asked: Any, channels: str = "BGR") -> list[Path | np.ndarray]:
    """The images of a request, as the predictor takes them.

    Args:
        asked: an array (H, W, 3) or (N, H, W, 3) with values from 0 to 255; a file's path, or an encoded image (JPEG,
            PNG, ...) as bytes or base64 text; or a list, a DataFrame or a dict with the column ``image`` of these.
        channels: the order of an array's channels, ``BGR`` (OpenCV's) or ``RGB`` (Pillow's).

    Raises:
        DatasetError: something that is no image.
    """
    if channels not in CHANNELS:
        raise DatasetError(f"channels={channels}: BGR or RGB")
    if isinstance(asked, Mapping) or hasattr(asked, "columns"):
        if COLUMN not in asked:
            raise DatasetError(f"the model's input has no column {COLUMN!r}, but {list(asked)}")
        asked = asked[COLUMN]
    if isinstance(asked, (str, bytes, Path)):
        asked = [asked]
    if not isinstance(asked, np.ndarray):
        asked = list(asked)
    if isinstance(asked, np.ndarray) and asked.ndim == 3:
        asked = asked[None]
    return [_image(one, channels) for one in asked]


def to_answer(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values: what each key holds is described by :func:`answer_keys`."""
    answer: dict[str, Any] = {"width": prediction.size[0], "height": prediction.size[1]}
    if prediction.segmentation is not None:
        return {**answer, "segments": prediction.to_json()["segments"]}
    answer |= {
        "boxes": [[round(float(value), 2) for value in box] for box in prediction.boxes],
        "scores": [round(float(score), 5) for score in prediction.scores],
        "labels": [int(label) for label in prediction.labels],
        "class_names": prediction.names,
    }
    if prediction.masks is not None:
        answer["masks"] = [encode_mask(mask) for mask in prediction.masks]
    if prediction.keypoints is not None:
        answer["keypoints"] = [
            [[round(float(value), 3) for value in point] for point in points]
            for points in prediction.keypoints
        ]
    return answer


def answer_keys(task: str) -> dict[str, str]:
    """The keys of an answer and what each holds; pixels are those of the image that was sent."""
    keys = {"width": "px", "height": "px"}
    if task == "semantic_segmentation":
        return {**keys, "segments": "of each class that is there: category_id, category_name, area, RLE mask"}
    keys |= {
        "boxes": "[x1, y1, x2, y2] in px, best first",
        "scores": "0 to 1",
        "labels": "0-based index of the class; -1 where nothing is classified",
        "class_names": "the class's name",
    }
    if task == "instance_segmentation":
        keys["masks"] = "COCO's compressed RLE: {size: [height, width], counts}"
    if task == "pose":
        keys["keypoints"] = "[x, y, score] of each point, x and y in px"
    return keys


def _image(one: Any, channels: str) -> Path | np.ndarray:
    if isinstance(one, Path):
        return one
    if isinstance(one, str):
        # MLflow's server sends text only; where it is a file's name the file is read.
        if len(one) < _LONGEST_PATH and os.path.isfile(one):
            return Path(one)
        one = _decoded(one)
    if isinstance(one, bytes):
        image = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DatasetError("an image that was sent can't be decoded")
        return image
    return _array(one, channels)


def _decoded(text: str) -> bytes:
    """The bytes of base64 text, or of a ``data:image/...;base64,`` address."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        shown = text if len(text) < 80 else f"{text[:77]}..."
        raise DatasetError(f"{shown!r} is neither a file nor an image as base64 text") from None


def _array(values: Any, channels: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype == object:  # JSON's nested lists
        array = np.asarray(array.tolist())
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    if array.ndim != 3 or array.shape[2] != 3 or not whole or (array.size and not _fits(array)):
        raise DatasetError(
            f"an image has to be (H, W, 3) with whole values from 0 to 255, not {array.dtype} {array.shape}"
        )
    array = array.astype(np.uint8)
    return np.ascontiguousarray(array[..., ::-1]) if channels == "RGB" else array


def _fits(array: np.ndarray) -> bool:
    return bool(array.min() >= 0 and array.max() <= 255)
