"""Models of any family with random but lively weights, as checkpoints with a validation split in which they are right.

The ground truth is what a model itself answers for a few pictures, some of which are padded: so files are compared on
objects that are found, and the metric is far from 0, without any training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tests.export.models import enliven, pictures, settle
from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.config.compose import compose
from trainer.config_tree.traverse import leaf_dataset
from trainer.data.prepare import prepare
from trainer.engine.checkpoint.file import plain
from trainer.engine.config_text import config_text
from trainer.inference.load_model import _build
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample
from trainer.inference.suppress_output import suppress_output
from trainer.mmconfig.build_config import build_config
from trainer.predictions.prediction import Prediction

IMAGES, OBJECTS = 8, 4
SHORTER = ((1.0, 1.0), (1.0, 0.75), (0.7, 1.0))
"""Shares of the input's width and height that pictures have in turn: what is missing is padded."""


def lively(words: list[str], folder: Path) -> Path:
    """The checkpoint of the model that ``words`` of the train command mean, with its data, in ``folder``."""
    experiment, _ = compose("train", words)
    bundle = prepare(experiment.dataset, experiment.task.name)
    config = build_config(experiment, bundle, folder).cfg
    task, size = experiment.task.name, experiment.dataset.image_size
    width, height = (size, size) if isinstance(size, int) else size
    with suppress_output():
        torch.manual_seed(0)
        model = _build(config, folder)
    settle(model)
    about = {
        "task": task, "model": experiment.model.name, "dataset": "its own answers", "config": "",
        "classes": list(bundle.classes), "palette": [list(colour) for colour in bundle.palette],
        "run_id": None, "fingerprint": None,
    }  # fmt: skip
    seen = [
        picture[: round(height * SHORTER[number % 3][1]), : round(width * SHORTER[number % 3][0])]
        for number, picture in enumerate(pictures((width, height), IMAGES))
    ]
    names = _write_images(folder / "images", seen)
    predictor = Predictor(model.eval(), config, about, 0, ResolvedCheckpoint(folder / "lively.pth", None))
    model.dataset_meta = _facts(predictor)
    if task == "pose":
        model.test_cfg["flip_test"] = False
    enliven(predictor, seen[:1])
    _calm(predictor, seen)
    answers = list(predictor.predict([Sample(image, _look(image, predictor)) for image in seen]))
    _set_truth(predictor, folder, names, answers)
    about["config"] = config_text(config)
    meta = {"epoch": 0, "trainer": about, "dataset_meta": plain(model.dataset_meta)}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "lively.pth")
    return folder / "lively.pth"


def _calm(predictor: Predictor, seen: list[np.ndarray]) -> None:
    """Make boxes and scores of the kind that trained models answer."""
    model: Any = predictor.model
    head = getattr(model, "bbox_head", None) or getattr(model, "head", None)
    if hasattr(head, "wh_head"):  # CenterNet: sides that aren't negative
        head.wh_head[-1].bias.data += 4
    # RTMDet: no scores of exactly 1, among which rounding decides.
    _bound(predictor, seen, getattr(head, "rtm_cls", ()), 4)
    # RTMO: boxes no larger than the picture.
    _bound(predictor, seen, getattr(getattr(head, "head_module", None), "out_bbox", ()), 1)


def _bound(
    predictor: Predictor, seen: list[np.ndarray], layers: Iterable[torch.nn.Module], most: float
) -> None:
    """Scale ``layers`` so that they answer no more than ``most`` for any of the pictures."""
    largest: dict[Any, float] = {}

    def note(layer: Any, _: Any, output: torch.Tensor) -> None:
        largest[layer] = max(largest.get(layer, most), float(output.abs().max()))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    if hooks:
        list(predictor.predict(seen))
    for hook in hooks:
        hook.remove()
    for layer, value in largest.items():
        layer.weight.data *= most / value
        layer.bias.data *= most / value


def _look(image: np.ndarray, predictor: Predictor) -> np.ndarray | None:
    """Where a top-down pose model looks: nearly all of the picture."""
    height, width = image.shape[:2]
    return np.array([[3, 5, width - 8, height - 4]], np.float32) if predictor.top_down else None


def _facts(predictor: Predictor) -> dict[str, Any]:
    from mmengine.config import ConfigDict
    from mmengine.registry import DATASETS

    with suppress_output(), predictor.in_scope():
        return dict(DATASETS.build(ConfigDict(leaf_dataset(predictor.config["val_dataloader"]))).metainfo)


def _write_images(folder: Path, images: list[np.ndarray]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return [f"{number}.png" for number in range(len(images))]


def _set_truth(predictor: Predictor, folder: Path, names: list[str], answers: list[Prediction]) -> None:
    """The answers as the validation split's ground truth."""
    leaf = leaf_dataset(predictor.config["val_dataloader"])
    if predictor.task == "semantic_segmentation":
        (folder / "masks").mkdir(exist_ok=True)
        for name, answer in zip(names, answers, strict=True):
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), answer.segmentation)
        (folder / "val.txt").write_text("\n".join(names))
        prefix = {"img_path": f"{folder / 'images'}/", "seg_map_path": f"{folder / 'masks'}/"}
        leaf.update(ann_file=str(folder / "val.txt"), data_prefix=prefix)
        return
    images, objects = [], []
    for number, (name, answer) in enumerate(zip(names, answers, strict=True), 1):
        width, height = answer.size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for row in range(min(OBJECTS, len(answer.scores))):
            objects.append({**_object(answer, row), "id": len(objects) + 1, "image_id": number})
    classes = [{"id": number, "name": name} for number, name in enumerate(predictor.classes, 1)]
    content = {"images": images, "annotations": objects, "categories": classes}
    file = folder / "val.json"
    file.write_text(json.dumps(content))
    leaf.update(ann_file=str(file), data_prefix={"img": f"{folder / 'images'}/"})
    predictor.config["val_evaluator"]["ann_file"] = str(file)


def _object(answer: Prediction, row: int) -> dict[str, Any]:
    """An answered object as a COCO annotation."""
    x1, y1, x2, y2 = answer.boxes[row].tolist()
    found: dict[str, Any] = {
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": max(1.0, (x2 - x1) * (y2 - y1)),
        "category_id": max(0, int(answer.labels[row])) + 1,
        "iscrowd": 0,
    }
    if answer.masks is not None:
        from pycocotools import mask

        bits = mask.encode(np.asfortranarray(answer.masks[row].astype(np.uint8)))
        found["segmentation"] = {"size": bits["size"], "counts": bits["counts"].decode()}
        found["area"] = max(1.0, float(answer.masks[row].sum()))
    if answer.keypoints is not None:
        points = answer.keypoints[row]
        found["keypoints"] = [value for x, y, _ in points.tolist() for value in (x, y, 2)]
        found["num_keypoints"] = len(points)
    return found
