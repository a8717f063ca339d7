"""Small real data sets on disk, and a cache of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from trainer.data.bundle import DataBundle, Split
from trainer.data.prepare import prepare
from trainer.schema import Dataset

SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def image(path: Path, width: int = 64, height: int = 48, seed: int | None = None) -> Path:
    """Noise of ``seed``, else of the name's length: names of equal length have equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name) if seed is None else seed).integers(
        0, 255, (height, width, 3), dtype=np.uint8
    )
    assert cv2.imwrite(str(path), noise)
    return path


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(document if isinstance(document, bytes) else orjson.dumps(document))
    return path


def flat(root: Path, count: int = 5, **extra: Any) -> dict[str, Any]:
    """Variant A of ``count`` images, the first category background, one square of class ``ab``[i % 2] on each."""
    for i in range(1, count + 1):
        image(root / "images" / f"{i}.png")
    document = {
        "categories": [{"id": 0, "name": "__background__"}, {"id": 3, "name": "a"}, {"id": 7, "name": "b"}],
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(1, count + 1)
        ],
        "annotations": [
            {
                "id": 100 + i,
                "image_id": i,
                "category_id": (3, 7)[i % 2],
                "bbox": [10, 10, 20, 20],
                "segmentation": SQUARE,
            }
            for i in range(1, count + 1)
        ],
    }
    return document | extra


@pytest.fixture
def dice(root: Path) -> Callable[..., DataBundle]:
    """Write a document as the task's annotation file and prepare it."""

    def make(document: Any, task: str = "detection", **options: Any) -> DataBundle:
        if document is not None:
            write(root / "annotations.json", document)
        return prepare(Dataset(name="toy", format="dice", path=str(root), **options), task)

    return make


def coco_of(split: Split) -> dict[str, Any]:
    return orjson.loads(split.ann_file.read_bytes())


def everything(bundle: DataBundle) -> dict[str, list[dict[str, Any]]]:
    """Annotations of all splits by the image's name in the data set."""
    found: dict[str, list[dict[str, Any]]] = {}
    for split in bundle.splits.values():
        document = coco_of(split)
        names = {entry["id"]: entry["original_file_name"] for entry in document["images"]}
        found |= {name: [] for name in names.values()}
        for annotation in document["annotations"]:
            found[names[annotation["image_id"]]].append(annotation)
    return found


def names(split: Split) -> set[str]:
    return {entry["original_file_name"] for entry in coco_of(split)["images"]}
