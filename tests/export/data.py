"""A detector and a validation split in which it is right: the ground truth is what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from tests.export.models import make_predictor, pictures
from trainer.config_tree.traverse import leaf_dataset
from trainer.inference.predictor import Predictor

# The smallest network that has all of RTMDet's parts.
SMALL: dict[str, Any] = {
    "model": {
        "backbone": {"widen_factor": 0.125, "init_cfg": None},
        "neck": {"in_channels": [32, 64, 128], "out_channels": 32},
        "bbox_head": {"in_channels": 32, "feat_channels": 32},
        "test_cfg": {"nms_pre": 100, "max_per_img": 20},
    }
}
IMAGES, OBJECTS = 6, 4


def small_detector(folder: Path) -> Predictor:
    """RTMDet on images of 64 x 64 px (some of 64 x 48, which are padded), with data of its own in ``folder``."""
    predictor = make_predictor("rtmdet-tiny", (64, 64), SMALL)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, picture in enumerate(pictures((64, 64), IMAGES)):
        picture = picture[: 48 if number % 2 else 64]
        path = folder / "images" / f"{number}.png"
        cv2.imwrite(str(path), picture)
        height, width = picture.shape[:2]
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
        (answer,) = predictor.predict(path)
        for box, label in list(zip(answer.boxes.tolist(), answer.labels.tolist(), strict=True))[:OBJECTS]:
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": max(1.0, (x2 - x1) * (y2 - y1)),
                }
            )  # fmt: skip
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(predictor.classes)]
    file = folder / "val.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for part in ("train_dataloader", "val_dataloader"):
        leaf_dataset(predictor.config[part]).update(
            data_root="", ann_file=str(file), data_prefix={"img": f"{folder / 'images'}/"}
        )
    predictor.config["val_evaluator"] = {"type": "BoxMetrics", "ann_file": str(file)}
    predictor.model.dataset_meta = {"classes": predictor.classes}
    return predictor
