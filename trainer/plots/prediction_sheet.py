"""Sample predictions beside ground truth, as a training writes them at its validations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import DatasetError
from trainer.predictions.prediction import Prediction, decode_mask

COLUMNS = 2
CELL = 300


def draw_sheet(samples: Path, picture: Path) -> bool:
    """Draw ``predictions/epoch_<n>.json`` as a JPEG; False where none of its images can be read any more."""
    import cv2

    from trainer.predictions.contact_sheet import contact_sheet
    from trainer.predictions.draw import draw_prediction, read_image

    content = json.loads(samples.read_bytes())
    classes = tuple(content["classes"])
    palette = [tuple(colour) for colour in content["palette"]]
    skeleton = [(int(a), int(b)) for a, b in content["skeleton"]]
    rows: list[tuple[np.ndarray, np.ndarray | None]] = []
    for entry in content["images"]:
        try:
            image = read_image(entry["prediction"]["file"])
        except DatasetError:
            continue
        said, true = (from_json(entry[key], classes) for key in ("prediction", "truth"))
        assert said is not None
        shown = draw_prediction(image, said, palette, skeleton)
        rows.append((shown, draw_prediction(image, true, palette, skeleton) if true is not None else None))
    if not rows:
        return False
    encoded = cv2.imencode(".jpg", contact_sheet(rows, COLUMNS, CELL), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    atomic_write(picture, encoded.tobytes())
    return True


def from_json(content: dict[str, Any] | None, classes: tuple[str, ...]) -> Prediction | None:
    """What :meth:`Prediction.to_json` wrote."""
    if content is None:
        return None
    size = (int(content["width"]), int(content["height"]))
    if "segments" in content:
        indices = np.full(size[::-1], 255, np.uint8)
        for one in content["segments"]:
            indices[decode_mask(one["segmentation"])] = one["category_id"] - 1
        return Prediction(content["file"], size, classes, segmentation=indices)
    found = content["predictions"]
    boxes = np.array([one["bbox"] for one in found], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = [np.nan if one["score"] is None else one["score"] for one in found]
    masks = [decode_mask(one["segmentation"]) for one in found if "segmentation" in one]
    points = [np.array(one["keypoints"], np.float32).reshape(-1, 3) for one in found if "keypoints" in one]
    return Prediction(
        content["file"],
        size,
        classes,
        boxes,
        np.array(scores, np.float32),
        np.array([one.get("category_id", 0) - 1 for one in found], np.int64),
        np.stack(masks) if masks else None,
        keypoints=np.stack(points) if points else None,
    )
