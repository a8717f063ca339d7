"""The built-in data set ``digits``: real pixels without a download, written to the cache as a DICE data set.

The 1,797 handwritten digits and the two photographs that scikit-learn ships become scenes with boxes, polygons and
keypoints. Training and validation share no digit and no pixel of a photograph. The same options give the same labels
on any machine.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import build_folder, cache_dir
from trainer.core.errors import DatasetError
from trainer.data.digits_scene import POINTS, Ink, compose_scene
from trainer.schema import Dataset

_VERSION = 3  # of the composer; raise it when scenes change
_VAL_DIGITS = 0.2  # share of each class's digits that only validation sees
_TRAIN_WIDTH = 0.7  # share of each photograph, from its left, that only training sees
_SIGMA = 0.1  # of OKS: where a stroke is flat, its outermost point can lie anywhere along it
_QUALITY = 95


def digits_folder(options: Dataset) -> Path:
    """The DICE data set of these options, composed on the first call.

    Raises:
        DatasetError: scikit-learn, which brings the pictures, is not installed.
    """
    chosen = {"seed": options.seed, "scenes": options.scenes, "val_scenes": options.val_scenes}
    chosen |= {"size": options.scene_size, "version": _VERSION}
    name = hashlib.sha256(orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return build_folder(cache_dir() / f"digits-{name}", lambda folder: _compose(folder, options))


def split_digits(labels: np.ndarray, seed: int) -> dict[str, list[int]]:
    """Which digits train and which validate: of every class the same share, none in both."""
    rng = np.random.default_rng([seed, 0])
    split: dict[str, list[int]] = {"train": [], "val": []}
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label)).tolist()
        count = round(len(members) * _VAL_DIGITS)
        split["val"] += members[:count]
        split["train"] += members[count:]
    return split


def _compose(folder: Path, options: Dataset) -> None:
    cells, labels, photos = _sources()
    parts = split_digits(labels, options.seed)
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    inks: list[tuple[int, Ink]] = []
    for number, (split, count) in enumerate((("train", options.scenes), ("val", options.val_scenes)), 1):
        views = [_part(photo, split) for photo in photos]
        deck = _deck(parts[split], np.random.default_rng([options.seed, number]))
        for scene in range(count):
            rng = np.random.default_rng([options.seed, number, scene])
            drawn = list(itertools.islice(deck, int(rng.integers(1, 4))))
            photo = views[int(rng.integers(len(views)))]
            image, found = compose_scene(drawn, cells, labels, photo, options.scene_size, rng)
            name = f"{split}_{scene:05d}.jpg"
            written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
            (folder / "images" / name).write_bytes(written.tobytes())
            side = options.scene_size
            images.append(
                {"id": len(images) + 1, "file_name": name, "width": side, "height": side, "split": split}
            )
            inks += [(len(images), ink) for ink in found]
    for task, content in _documents(images, inks).items():
        atomic_write(folder / f"annotations_{task}.json", orjson.dumps(content))


def _sources() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Digits (1797, 8, 8) with values 0..16, their labels, and the photographs as BGR."""
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError as error:
        raise DatasetError(
            f"dataset=digits is composed of scikit-learn's pictures, which can't be loaded ({error}): "
            "pip install scikit-learn pillow"
        ) from error
    digits = load_digits()
    photos = [np.ascontiguousarray(photo[:, :, ::-1]) for photo in load_sample_images().images]
    return digits.images, digits.target, photos


def _part(photo: np.ndarray, split: str) -> np.ndarray:
    edge = round(photo.shape[1] * _TRAIN_WIDTH)
    return photo[:, :edge] if split == "train" else photo[:, edge:]


def _deck(digits: list[int], rng: np.random.Generator) -> Iterator[int]:
    """The digits shuffled, again and again, so that each is used as often as any other."""
    while True:
        yield from rng.permutation(digits).tolist()


def _documents(images: list[dict[str, Any]], inks: list[tuple[int, Ink]]) -> dict[str, dict[str, Any]]:
    """The annotation file of each task, as a labelling tool would export it."""
    classes = [{"id": i, "name": str(i), "supercategory": "digit"} for i in range(10)]
    around = [[1, 2], [2, 3], [3, 4], [4, 1]]
    points = [{"id": 0, "name": "digit", "keypoints": POINTS, "skeleton": around, "sigmas": [_SIGMA] * 4}]
    plain, masks, keypoints = [], [], []
    for number, (image, ink) in enumerate(inks, 1):
        base = {"id": number, "image_id": image, "bbox": ink.box, "area": ink.area, "iscrowd": 0}
        labelled = base | {
            "category_id": ink.label,
            "class_name": str(ink.label),
            "attributes": {"source": ink.digit},
        }
        plain.append(labelled)
        masks.append(labelled | {"segmentation": ink.polygons})
        flat = [n for x, y in ink.points for n in (x, y, 2)]
        keypoints.append(
            base | {"category_id": 0, "class_name": "digit", "keypoints": flat, "num_keypoints": 4}
        )
    head = {
        "info": {"description": "handwritten digits on photographs, from scikit-learn's data sets"},
        "storage_info": {"image_root": "images/", "storage_type": "local"},
        "images": images,
    }
    return {
        "detection": head | {"categories": classes, "annotations": plain},
        "segmentation": head | {"categories": classes, "annotations": masks},
        "pose": head | {"categories": points, "annotations": keypoints},
    }
