"""The fingerprint: the same for the same data anywhere, another one for any other label, class or split."""

from __future__ import annotations

import copy
import shutil

import pytest

from tests.data.conftest import flat, image, write
from tests.data.test_dice import nested
from trainer.data.prepare import prepare
from trainer.schema import Dataset


def test_order_ids_and_place_do_not_count(root, dice, tmp_path):
    document = flat(root, 8)
    first = dice(document, "instance_segmentation")
    assert len(first.fingerprint) == 64 and int(first.fingerprint, 16)
    document["images"].reverse()
    document["annotations"].sort(key=lambda a: a["category_id"])
    for annotation in document["annotations"]:
        annotation["id"] += 5000
    assert dice(document, "instance_segmentation").fingerprint == first.fingerprint
    moved = tmp_path / "elsewhere"
    shutil.move(root, moved)
    options = Dataset(name="other", format="dice", path=str(moved))
    assert prepare(options, "instance_segmentation").fingerprint == first.fingerprint


def test_form_does_not_count(root, dice):
    """The same labels, nested by image or in one list."""
    document = nested(root)
    first = dice(document).fingerprint
    write(root / "annotations.json", {})
    listed = [
        {"image_id": entry["id"], "category_id": label["class_id"], "bbox": label["bbox"]}
        for entry in document["images"]
        for label in entry["annotations"]
    ]
    images = [{k: v for k, v in entry.items() if k != "annotations"} for entry in document["images"]]
    whole = {"categories": document["classes"], "images": images, "annotations": listed}
    assert dice(whole).fingerprint == first


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["annotations"][0].update(bbox=[10, 10, 20, 21]),
        lambda d: d["annotations"][0].update(category_id=3),
        lambda d: d["annotations"][0].update(iscrowd=1),
        lambda d: d["annotations"][0].update(segmentation=[[10, 10, 30, 10, 30, 31]]),
        lambda d: d["annotations"].pop(),
        lambda d: d["categories"][1].update(name="z"),
        lambda d: d["images"][0].update(split="val"),
        lambda d: (
            [
                a.update(image_id={1: 3, 3: 1}.get(a["image_id"], a["image_id"]))
                for a in d["annotations"][:3:2]
            ]
            + [d["annotations"][0].update(bbox=[1, 1, 5, 5])]
        ),
    ],
)
def test_every_label_counts(root, dice, change):
    document = flat(root)
    first = dice(document, "instance_segmentation").fingerprint
    other = copy.deepcopy(document)
    change(other)
    assert dice(other, "instance_segmentation").fingerprint != first


def test_sizes_count(root, dice):
    first = dice(flat(root)).fingerprint
    document = flat(root)
    document["images"][0]["width"] = 65
    image(root / "images" / "1.png", 65, 48)
    assert dice(document).fingerprint != first


def test_keypoints_count(root, dice):
    document = flat(root)
    for annotation in document["annotations"]:
        annotation["keypoints"] = [20, 20, 2]
    first = dice(document, "pose").fingerprint
    document["annotations"][0]["keypoints"] = [20, 20, 1]
    assert dice(document, "pose").fingerprint != first
