"""COCO folders: the usual layouts, named files, and the same output as every other format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import SQUARE, coco_of, everything, image, names, write
from trainer.core.errors import DatasetError
from trainer.data.prepare import prepare
from trainer.schema import Dataset


def document(folder: Path, files: list[str], **label: Any) -> dict[str, Any]:
    for file in files:
        image(folder / file)
    return {
        "categories": [{"id": 18, "name": "dog"}, {"id": 5, "name": "cat"}],
        "images": [{"id": 40 + i, "file_name": f, "width": 64, "height": 48} for i, f in enumerate(files)],
        "annotations": [
            {
                "id": 900 + i,
                "image_id": 40 + i,
                "category_id": 5,
                "bbox": [1, 2, 30, 20],
                "iscrowd": 0,
                **label,
            }
            for i, _ in enumerate(files)
        ],
    }


def load(root: Path, task: str = "detection", **options: Any) -> Any:
    return prepare(Dataset(name="toy", format="coco", path=str(root), **options), task)


@pytest.mark.parametrize(
    ("train", "val", "train_images", "val_images"),
    [
        (
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            "train2017",
            "val2017",
        ),
        (
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            "images/train2017",
            "val2017",
        ),
        ("annotations/train.json", "annotations/val.json", "images", "images"),
        ("annotations/train.json", "annotations/val.json", "images/train", "images/val"),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train", "valid"),
        ("train.json", "val.json", ".", "."),
    ],
)
def test_usual_layouts(root, train, val, train_images, val_images):
    write(root / train, document(root / train_images, ["1.png", "2.png", "s/3.png"]))
    write(root / val, document(root / val_images, ["7.png"]))
    bundle = load(root)
    assert bundle.classes == ("dog", "cat")
    assert names(bundle.train) == {"1.png", "2.png", "s/3.png"} and names(bundle.val) == {"7.png"}
    for split in (bundle.train, bundle.val):
        content = coco_of(split)
        assert all((split.image_root / e["file_name"]).is_file() for e in content["images"])
        assert {a["category_id"] for a in content["annotations"]} == {2}
        assert content["annotations"][0]["id"] == 1 and content["annotations"][0]["original_id"] == 900
        assert content["images"][0]["id"] == 40


def test_same_file_name_in_both_folders(root):
    write(root / "annotations/train.json", document(root / "train", ["1.png"]))
    write(root / "annotations/val.json", document(root / "val", ["1.png"]))
    bundle = load(root)
    assert bundle.train.image_root == root / "train" and bundle.val.image_root == root / "val"


def test_one_file_is_split_by_the_seed(root):
    write(
        root / "annotations" / "instances_default.json",
        document(root / "images", [f"{i}.png" for i in range(10)]),
    )
    bundle = load(root, val_ratio=0.3)
    assert (bundle.train.num_images, bundle.val.num_images) == (7, 3)


def test_named_files_and_folders(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(root / "x.json", document(elsewhere, ["1.png", "2.png"]))
    write(root / "y.json", document(root / "pictures", ["3.png"]))
    options = {"train_annotations": "x.json", "train_images": str(elsewhere)}
    bundle = load(root, **options, val_annotations="y.json", val_images="pictures")
    assert bundle.train.image_root == elsewhere and bundle.val.image_root == root / "pictures"
    assert (
        sum(load(root, **options).splits[s].num_images for s in ("train", "val")) == 2
    )  # drawn: no val was named


def test_test_file_is_used_when_it_has_labels(root):
    write(root / "annotations/train.json", document(root / "images", ["1.png", "2.png"]))
    write(root / "annotations/test.json", document(root / "images", ["3.png"]))
    bundle = load(root)
    assert names(bundle.splits["test"]) == {"3.png"} and bundle.val.num_images == 1
    write(root / "annotations/test.json", document(root / "images", ["3.png"]) | {"annotations": []})
    assert "test" not in load(root).splits


def test_pose_reads_the_keypoint_file(root):
    write(root / "annotations/instances_train2017.json", document(root / "train2017", ["1.png", "2.png"]))
    person = document(root / "train2017", ["1.png", "2.png"], keypoints=[5, 6, 2] * 17, num_keypoints=17)
    person["categories"] = [{"id": 5, "name": "person"}]
    person["annotations"].append(
        {"id": 3, "image_id": 40, "category_id": 5, "bbox": [0, 0, 9, 9], "keypoints": [0] * 51}
    )
    write(root / "annotations/person_keypoints_train2017.json", person)
    bundle = load(root, "pose")
    assert (
        bundle.classes == ("person",) and bundle.keypoints is not None and len(bundle.keypoints.names) == 17
    )
    assert sorted(a["num_keypoints"] for found in everything(bundle).values() for a in found) == [0, 17, 17]


@pytest.mark.parametrize(
    ("task", "needs"),
    [
        ("instance_segmentation", "segmentation .polygons or RLE."),
        ("semantic_segmentation", "segmentation .polygons or RLE. or a mask_file"),
        ("pose", "keypoints"),
    ],
)
def test_task_without_its_labels(root, task, needs):
    write(root / "annotations.json", document(root, ["1.png", "2.png"]))
    with pytest.raises(
        DatasetError, match=rf"no annotation in annotations.json has (a )?{needs}, which task={task}"
    ):
        load(root, task)


def test_tasks_read_only_what_they_need(root):
    whole = document(root, ["1.png", "2.png"], segmentation=SQUARE, keypoints=[5, 6, 2])
    write(root / "annotations.json", whole)
    assert load(root).keypoints is None and load(root, "pose").keypoints is not None
    found = {task: coco_of(load(root, task).train)["annotations"][0] for task in ("detection", "pose")}
    found["masks"] = coco_of(load(root, "instance_segmentation").train)["annotations"][0]
    assert {task: {"segmentation", "keypoints"} & set(a) for task, a in found.items()} == {
        "detection": set(),
        "pose": {"keypoints"},
        "masks": {"segmentation"},
    }


def test_class_of_val_that_train_lacks(root):
    write(root / "annotations/train.json", document(root, ["1.png", "2.png"]))
    other = document(root, ["3.png"])
    other["categories"][1]["name"] = "horse"
    write(root / "annotations/val.json", other)
    with pytest.raises(
        DatasetError, match=r"val\.json: annotations of a class that is not declared \(1\): 3\.png#900"
    ):
        load(root)


def test_nothing_found(root):
    write(root / "labels" / "x.json", {})
    with pytest.raises(DatasetError, match=r"dataset\.train_annotations; there are labels/x\.json"):
        load(root)
    with pytest.raises(DatasetError, match=r"dataset\.train_annotations: .*q\.json does not exist"):
        load(root, train_annotations="q.json")
