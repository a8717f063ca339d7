"""Images to predict on: files that are named, or a split of the run's own data with its ground truth."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.config_tree.traverse import leaf_dataset
from trainer.core.errors import DatasetError
from trainer.predictions.ground_truth import coco_truth
from trainer.predictions.prediction import Prediction

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_WILD = "*?["


@dataclass(frozen=True)
class Sample:
    """One image to predict on.

    Attributes:
        image: a file, an object in a store, or an (H, W, 3) uint8 array in BGR order as ``cv2.imread`` gives it.
        boxes: (N, 4) float32, x1 y1 x2 y2 in px: where a top-down pose model looks; None for the whole image.
        truth: the annotations, where the image has some.
        image_id: the image's id in its data set; None outside one.
        label: what an array is called in results; a file and an object are called by their own names.
    """

    image: Path | Stored | np.ndarray
    boxes: np.ndarray | None = None
    truth: Prediction | None = None
    image_id: int | None = None
    label: str | None = None

    @property
    def name(self) -> str | None:
        """The file, the ``s3://`` address, or what the array is called."""
        return self.label if isinstance(self.image, np.ndarray) else str(self.image)


class Stored(Protocol):
    """An object in a store; ``str()`` of it is its address."""

    def read(self) -> bytes:
        """Its content. Raises a TrainerError where that can't be had."""


def find_images(source: str | Path) -> list[Path]:
    """The image files that an image, a folder or a glob names, sorted.

    Raises:
        DatasetError: there are none.
    """
    text = str(Path(source).expanduser())
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.suffix.lower() in IMAGES and one.is_file())
    elif any(mark in text for mark in _WILD):
        import glob

        found = sorted(
            Path(one) for one in glob.glob(text, recursive=True) if Path(one).suffix.lower() in IMAGES
        )
    else:
        raise DatasetError(f"source={source}: there is no such image or folder")
    if not found:
        raise DatasetError(f"source={source}: no image there ({' '.join(IMAGES)})")
    return found


def split_loader(config: dict[str, Any], split: str) -> dict[str, Any]:
    """The data loader of a split, with the pipeline of validation.

    Raises:
        DatasetError: the run's data set has no such split, or its files are no longer there.
    """
    val = config["val_dataloader"]
    if split == "val":
        loader = val
    elif split == "test":
        loader = config.get("test_dataloader") or {}
        if not has_test(config):
            raise DatasetError("split=test: the data set of this run has no test split; split=val is there")
    else:
        leaf = {**leaf_dataset(val), **_files(leaf_dataset(config["train_dataloader"]))}
        loader = {**val, "dataset": leaf}
    ann_file = Path(leaf_dataset(loader).get("data_root") or "") / leaf_dataset(loader)["ann_file"]
    if not ann_file.is_file():
        raise DatasetError(
            f"split={split}: {ann_file} is not there any more; "
            "python -m trainer show with the run's dataset=... prepares the data again"
        )
    return loader


def has_test(config: dict[str, Any]) -> bool:
    """Whether the data set of a run has a test split: images of its own."""
    test = _files(leaf_dataset(config.get("test_dataloader") or {}))
    return test not in ({}, _files(leaf_dataset(config["val_dataloader"])))


def split_samples(
    config: dict[str, Any], split: str, task: str, classes: tuple[str, ...]
) -> Iterator[Sample]:
    """The images of a split with their ground truth, in the order of validation.

    Raises:
        DatasetError: as :func:`split_loader`.
    """
    leaf = leaf_dataset(split_loader(config, split))
    root = Path(leaf.get("data_root") or "")
    if task == "semantic_segmentation":
        yield from _segmentation(leaf, root, classes)
    else:
        yield from _coco(leaf, root, task, classes)


def _files(leaf: dict[str, Any]) -> dict[str, Any]:
    return {key: leaf[key] for key in ("data_root", "ann_file", "data_prefix") if key in leaf}


def _segmentation(leaf: dict[str, Any], root: Path, classes: tuple[str, ...]) -> Iterator[Sample]:
    import cv2

    prefix = leaf["data_prefix"]
    for name in (root / leaf["ann_file"]).read_text().split("\n"):
        if not name.strip():
            continue
        path = root / prefix["img_path"] / f"{name.strip()}{leaf.get('img_suffix', '.jpg')}"
        labels = root / prefix["seg_map_path"] / f"{name.strip()}{leaf.get('seg_map_suffix', '.png')}"
        indices = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        if indices is None:
            raise DatasetError(f"{labels} can't be read as an image")
        height, width = indices.shape[:2]
        yield Sample(path, truth=Prediction(str(path), (width, height), classes, segmentation=indices))


def _coco(leaf: dict[str, Any], root: Path, task: str, classes: tuple[str, ...]) -> Iterator[Sample]:
    content = json.loads((root / leaf["ann_file"]).read_bytes())
    categories = {category["id"]: category for category in content["categories"]}
    annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        path = root / leaf["data_prefix"]["img"] / image["file_name"]
        truth = coco_truth(str(path), image, annotations[image["id"]], categories, task, classes)
        limit = np.array([image["width"], image["height"]] * 2, np.float32) - 1
        # As mmpose's reader clips them: the crop depends on it.
        boxes = np.clip(truth.boxes, 0, limit) if task == "pose" else None
        yield Sample(path, boxes, truth)
