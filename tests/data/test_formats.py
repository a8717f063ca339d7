"""Every format carries the same labels: each is found by itself, read, and found equal to what was drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.conftest import coco_of
from tests.data.folders import CASES, CLASSES, FORMAT_OF, POINTS, THINGS, make
from trainer.data.bundle import DataBundle
from trainer.data.prepare import prepare
from trainer.schema import Dataset


@pytest.mark.parametrize(("name", "task"), CASES)
def test_each_format_is_found_and_read(name: str, task: str, root: Path) -> None:
    make(name, root, task)
    bundle = prepare(Dataset(format="auto", path=str(root)), task)
    form = FORMAT_OF.get(name, name)
    assert any(f"is a {_NAMES[form]}: found " in note for note in bundle.notes)
    assert prepare(Dataset(format=form, path=str(root)), task).fingerprint == bundle.fingerprint
    assert {s: split.num_images for s, split in bundle.splits.items()} == {"train": 4, "val": 2}
    if task == "semantic_segmentation":
        _masks(bundle, name)
        return
    assert bundle.classes == CLASSES
    found = {}
    for split in bundle.splits.values():
        content = coco_of(split)
        entries = {entry["id"]: entry for entry in content["images"]}
        assert all((split.image_root / entry["file_name"]).is_file() for entry in content["images"])
        for annotation in content["annotations"]:
            stem = Path(entries[annotation["image_id"]]["file_name"]).stem
            assert stem not in found
            found[stem] = annotation
    for thing in THINGS:
        annotation = found[thing.stem]
        assert annotation["category_id"] == thing.label + 1 and annotation["iscrowd"] == 0
        assert np.allclose(annotation["bbox"], thing.box, atol=1e-5)
        assert annotation["area"] == pytest.approx(24 * 16, abs=1e-3)
        if task == "instance_segmentation":
            from trainer.data.geometry import segmentation_mask

            mask = segmentation_mask(annotation["segmentation"], 48, 64)
            assert (mask == (thing.mask(1) == 1)).all()
        if task == "pose":
            # LabelMe has no word for a hidden point.
            expected = [n for x, y, v in thing.keypoints for n in (x, y, 2 if name == "labelme" else v)]
            assert np.allclose(sorted_points(annotation["keypoints"], bundle), expected, atol=1e-5)
    if task == "pose":
        assert bundle.keypoints is not None and set(bundle.keypoints.names) == set(POINTS)
        left, right = (bundle.keypoints.names.index(n) for n in POINTS[:2])
        assert bundle.keypoints.flip_pairs == ((min(left, right), max(left, right)),)


def sorted_points(keypoints: list[float], bundle: DataBundle) -> list[float]:
    """In the order of ``POINTS``: LabelMe has no order of its own."""
    assert bundle.keypoints is not None
    starts = [3 * bundle.keypoints.names.index(name) for name in POINTS]
    return [n for start in starts for n in keypoints[start : start + 3]]


_NAMES = {
    "coco": "COCO data set", "dice": "DICE data set", "yolo": "YOLO data set", "voc": "Pascal VOC data set",
    "labelme": "LabelMe data set", "masks": "mask PNG data set",
}  # fmt: skip


def _masks(bundle: DataBundle, name: str) -> None:
    """Index maps hold the classes where the things are."""
    classes = list(bundle.classes)
    for split in bundle.splits.values():
        assert split.seg_map_root is not None and split.list_file is not None
        for file in split.list_file.read_text().split():
            values = cv2.imread(str(split.seg_map_root / f"{file}.png"), cv2.IMREAD_UNCHANGED)
            thing = _thing(file)
            inside = thing.mask(1) == 1
            wanted = ("person", "car")[thing.label] if name == "cityscapes" else CLASSES[thing.label]
            assert set(values[inside]) == {classes.index(wanted)}
            outside = {
                "panoptic": {255, classes.index("sky")} if name == "panoptic" else set(),
                "cityscapes": {255, 0},  # static doesn't count, road is class 0
            }.get(name, {0})
            assert set(values[~inside]) == outside
    if name == "cityscapes":
        assert len(classes) == 19 and classes[0] == "road" and bundle.palette[0] == (128, 64, 128)
    elif name == "panoptic":
        assert classes == [*CLASSES, "sky"]
    else:
        assert classes == ["background", *CLASSES]


def _thing(file: str):
    stem = Path(file).stem
    number = stem.removeprefix("pic") if stem.startswith("pic") else stem.split("_")[1]
    return THINGS[int(number)]
