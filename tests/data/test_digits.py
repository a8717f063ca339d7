"""The built-in data set: real, repeatable, without leaks from validation, and labelled where the ink is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from tests.data.conftest import coco_of
from trainer.core.errors import DatasetError
from trainer.data.bundle import DataBundle
from trainer.data.digits import _part, _sources, digits_folder, split_digits
from trainer.data.digits_scene import _alpha, compose_scene, outlines
from trainer.data.geometry import polygon_mask, segmentation_mask
from trainer.data.prepare import prepare
from trainer.schema import TASKS, Dataset


def options(**changes: Any) -> Dataset:
    return Dataset(**({"name": "digits", "scenes": 24, "val_scenes": 8} | changes))


def labelled(bundle: DataBundle, split: str = "train") -> list[tuple[np.ndarray, list[dict[str, Any]]]]:
    """Each scene's pixels with its annotations."""
    content, part = coco_of(bundle.splits[split]), bundle.splits[split]
    return [
        (
            cv2.imread(str(part.image_root / entry["file_name"])),
            [a for a in content["annotations"] if a["image_id"] == entry["id"]],
        )
        for entry in content["images"]
    ]


def bright(image: np.ndarray) -> np.ndarray:
    """Ink by its looks alone: the darkened photographs stay below 125, halfway from them to the ink's 180 and more."""
    return image.min(2) > 125


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_labels(task):
    bundle = prepare(options(), task)
    digits = tuple("0123456789")
    expected = {"pose": ("digit",), "semantic_segmentation": ("background", *digits)}
    assert bundle.classes == expected.get(task, digits)
    assert len(bundle.palette) == len(set(bundle.palette)) == len(bundle.classes)
    assert (bundle.train.num_images, bundle.val.num_images) == (24, 8)
    assert bundle.train.num_annotations >= 24 and bundle.notes == ()
    assert (bundle.keypoints is not None) == (task == "pose")
    assert bundle.keypoints is None or (
        bundle.keypoints.names == ("top", "right", "bottom", "left")
        and bundle.keypoints.flip_pairs == ((1, 3),)
    )


def test_same_options_same_scenes_and_other_seed_other_scenes(tmp_path, monkeypatch):
    def made(name: str, **changes: Any) -> tuple[str, dict[str, bytes]]:
        monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / name))
        bundle = prepare(options(**changes), "instance_segmentation")
        return bundle.fingerprint, {
            path.name: path.read_bytes() for path in (bundle.root / "images").iterdir()
        }

    first = made("one")
    assert made("two") == first
    other = made("three", seed=43)
    assert other[0] != first[0] and other[1] != first[1]
    # More scenes begin with the same ones.
    longer = made("four", scenes=30)
    assert {name: longer[1][name] for name in first[1]} == first[1]


def test_training_and_validation_share_no_digit_and_no_pixel():
    cells, labels, photos = _sources()
    assert len(cells) == 1797 and len(photos) == 2
    split = split_digits(labels, 42)
    assert not set(split["train"]) & set(split["val"])
    assert sorted(split["train"] + split["val"]) == list(range(1797))
    assert set(labels[split["val"]]) == set(range(10))
    for photo in photos:
        views = [_part(photo, name) for name in ("train", "val")]
        assert not np.shares_memory(*views) and sum(view.shape[1] for view in views) == photo.shape[1]
    folder = digits_folder(options(scenes=60, val_scenes=30))
    written = orjson.loads((folder / "annotations_detection.json").read_bytes())
    which = {entry["id"]: entry["split"] for entry in written["images"]}
    used: dict[str, set[int]] = {"train": set(), "val": set()}
    for annotation in written["annotations"]:
        digit = annotation["attributes"]["source"]
        used[which[annotation["image_id"]]].add(digit)
        assert annotation["category_id"] == labels[digit]
    assert used["train"] <= set(split["train"]) and used["val"] <= set(split["val"])


@pytest.mark.parametrize("size", [96, 160])
def test_boxes_are_the_extent_of_the_ink(size):
    for image, found in labelled(prepare(options(scene_size=size), "detection")):
        assert image.shape == (size, size, 3) and 1 <= len(found) <= 3
        seen = np.zeros((size, size), bool)
        for annotation in found:
            x, y, w, h = annotation["bbox"]
            left, top, right, bottom = (
                int(np.floor(x)),
                int(np.floor(y)),
                int(np.ceil(x + w)),
                int(np.ceil(y + h)),
            )
            assert not seen[top:bottom, left:right].any()  # boxes don't overlap
            seen[top:bottom, left:right] = True
            rows, columns = np.nonzero(bright(image[top:bottom, left:right]))
            extent = (columns.min() + left, rows.min() + top, columns.max() + 1 + left, rows.max() + 1 + top)
            assert np.abs(np.array(extent) - (x, y, x + w, y + h)).max() <= 1.5
        rim = cv2.dilate(seen.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert not bright(image)[~rim].any()  # no ink without a label


def test_masks_are_the_ink():
    masks, semantic = prepare(options(), "instance_segmentation"), prepare(options(), "semantic_segmentation")
    assert semantic.val.seg_map_root is not None
    names = [entry["file_name"] for entry in coco_of(masks.val)["images"]]
    for name, (image, found) in zip(names, labelled(masks, "val"), strict=True):
        painted = np.zeros(image.shape[:2], np.uint8)
        for annotation in found:
            mask = segmentation_mask(annotation["segmentation"], *image.shape[:2])
            painted[mask] = annotation["category_id"]
            assert abs(mask.sum() - annotation["area"]) < 0.1 * annotation["area"]
            rows, columns = np.nonzero(mask)
            x, y, _, h = annotation["bbox"]
            assert abs(columns.min() - x) <= 1 and abs(rows.max() + 1 - y - h) <= 1
        ink = bright(image)
        assert (ink & (painted > 0)).sum() / (ink | (painted > 0)).sum() > 0.85
        index = cv2.imread(str(semantic.val.seg_map_root / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(index, painted)


def test_keypoints_are_the_outermost_ink():
    for image, found in labelled(prepare(options(), "pose")):
        for annotation in found:
            x, y, w, h = annotation["bbox"]
            points = np.array(annotation["keypoints"]).reshape(4, 3)
            assert (points[:, 2] == 2).all() and annotation["num_keypoints"] == 4
            top, right, bottom, left = points[:, :2]
            edges = (top[1] - y, x + w - right[0], y + h - bottom[1], left[0] - x)
            assert all(0 < edge < 0.5 for edge in edges)
            for px, py in points[:, :2]:
                window = image[max(int(py) - 1, 0) : int(py) + 2, max(int(px) - 1, 0) : int(px) + 2]
                assert bright(window).any()


def test_no_slit_is_left_where_a_digit_is_cut():
    cells, labels, _ = _sources()
    cut = 0
    for digit in np.flatnonzero(np.isin(labels, (0, 6, 8, 9)))[:150].tolist():
        fine = _alpha(cells[digit], 40, 4) > 0.5
        polygons = outlines(fine)
        cut += len(polygons) > 1
        ink = fine[2::4, 2::4]
        mask = segmentation_mask([((p + 0.5) / 4).ravel().tolist() for p in polygons], *ink.shape)
        inner = cv2.erode(ink.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert not (inner & ~mask).any()
        assert not (mask & ~cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).any()
    assert cut > 50


@pytest.mark.parametrize("holes", [0, 1, 2])
def test_outlines_of_ink_with_holes_are_plain_and_cover_it(holes):
    ink = np.zeros((60, 50), bool)
    ink[5:55, 8:42] = True
    for i in range(holes):
        ink[10 + 22 * i : 25 + 22 * i, 15 + 3 * i : 30 + 3 * i] = False
    polygons = outlines(ink)
    assert (len(polygons) == 1) == (holes == 0)
    covered = np.zeros(ink.shape, np.uint8)
    for polygon in polygons:
        part = polygon_mask((polygon + 0.5).ravel().tolist(), *ink.shape).astype(np.uint8)
        _, tree = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        assert (tree[0][:, 3] < 0).all()  # none has a hole
        covered |= cv2.dilate(part, np.ones((3, 3), np.uint8))
    assert not (ink & ~covered.astype(bool)).any()
    assert (cv2.erode(covered, np.ones((3, 3), np.uint8)).astype(bool) & ~ink).sum() <= 0.05 * ink.sum()


@pytest.mark.parametrize("size", [32, 300, 1000])
def test_other_scene_sizes(size):
    cells, labels, photos = _sources()
    image, inks = compose_scene([0, 1, 2], cells, labels, photos[0], size, np.random.default_rng(1))
    assert image.shape == (size, size, 3) and inks
    for ink in inks:
        assert ink.box[0] >= 0 and ink.box[0] + ink.box[2] <= size
        assert size * 0.1 < ink.box[3] < size * 0.65


def test_prepare_needs_neither_torch_nor_openmmlab(cache):
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpose', 'pycocotools', 'mlflow'):\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import trainer.data.prepare as p; assert 'sklearn' not in sys.modules\n"
        "from trainer.schema import Dataset, TASKS\n"
        "[p.prepare(Dataset(scenes=2, val_scenes=1), task) for task in TASKS]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DatasetError, match="pip install scikit-learn"):
        prepare(options(), "detection")
