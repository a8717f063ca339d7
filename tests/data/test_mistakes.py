"""Every mistake is named with its file and key, all of them at once, and nothing is prepared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.data.conftest import flat, image, write
from trainer.core.errors import DatasetError
from trainer.data.prepare import prepare
from trainer.schema import Dataset


def test_path_not_set_or_not_there(tmp_path):
    with pytest.raises(DatasetError, match="dataset.path is not set; dataset.format=dice needs"):
        prepare(Dataset(format="dice"), "detection")
    with pytest.raises(DatasetError, match="dataset.path: .*nowhere does not exist"):
        prepare(Dataset(format="coco", path=str(tmp_path / "nowhere")), "detection")
    with pytest.raises(DatasetError, match=r"x\.json is not a folder"):
        prepare(Dataset(format="coco", path=str(write(tmp_path / "x.json", {}))), "detection")


def test_unknown_format_and_task():
    with pytest.raises(DatasetError, match="no format 'dise'.*Did you mean 'dice'"):
        prepare(Dataset(format="dise"), "detection")
    with pytest.raises(DatasetError, match="no task 'detect'.*Did you mean 'detection'"):
        prepare(Dataset(), "detect")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [\n  {"id": 1,,}]}', r"annotations\.json is not JSON: .*line 2 column"),
        (b'{"images": [{"id": NaN}]}', r"annotations\.json is not JSON: .*line 1 column"),
        (b"[1, 2]", "must hold one JSON object"),
        ({"images": [{"id": 1, "file_name": "1.png"}]}, "names no class"),
        ({"categories": [{"id": 1, "name": "a"}], "images": []}, "lists no image"),
        ({"categories": [{"id": 1, "name": "a"}]}, "lists no image"),
    ],
)
def test_unusable_files(root, dice, content, message):
    image(root / "1.png")
    with pytest.raises(DatasetError, match=message):
        dice(content)


def change(document: dict[str, Any], **values: Any) -> dict[str, Any]:
    document["annotations"][0].update(values)
    return document


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"category_id": 99}, r"not declared \(1\): 1\.png#101 category_id 99"),
        ({"category_id": None, "class_name": "c"}, r"not declared \(1\): 1\.png#101 class_name 'c'"),
        ({"category_id": None}, "without category_id, class_id or class_name"),
        ({"image_id": 77}, r"of an image that is not listed \(1\): entry 1 image_id 77"),
        ({"bbox": [1, 2, 3]}, r"bbox must be four numbers \(1\): 1\.png#101"),
        ({"bbox": [1, 2, 3, "4"]}, "bbox must be four numbers"),
        ({"bbox_format": "polar"}, "bbox_format must be one of xywh, xyxy, cxcywh.*'polar'"),
        ({"segmentation": {"size": [48, 64], "counts": [5]}}, "no valid RLE.*add up to 48 x 64"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "no valid RLE.*not the image's 48 x 64"),
        ({"segmentation": {"counts": [81]}}, "no valid RLE"),
        ({"segmentation": [["a"] * 6]}, "segmentation must hold numbers"),
        ({"segmentation": "mask"}, "segmentation must be polygons or an RLE object"),
        ({"keypoints": [1, 2]}, "keypoints must be triples"),
        ({"keypoints": "1"}, "keypoints must be a list"),
    ],
)
def test_bad_annotations(root, dice, values, message):
    with pytest.raises(DatasetError, match=message):
        dice(change(flat(root), **values))


@pytest.mark.parametrize(
    "name",
    [
        "../out.png",
        "/etc/out.png",
        "a/../../out.png",
        "C:\\out.png",
        "..\\out.png",
        "",
        ".",
        None,
        5,
        "a\0.png",
    ],
)
def test_file_names_stay_in_the_folder(root, dice, name):
    image(root.parent / "out.png")
    document = flat(root)
    document["images"][0]["file_name"] = name
    with pytest.raises(DatasetError, match="file_name must be a path inside the data set's folder"):
        dice(document)


def test_image_root_cannot_lead_out(root, dice):
    image(root.parent / "out" / "x.png")
    document = flat(root, storage_info={"image_root": "../out/"})
    document["images"][0]["file_name"] = "x.png"
    with pytest.raises(DatasetError, match=r"image files missing.*x\.png"):
        dice(document)


def test_categories_and_images_that_clash(root, dice):
    document = flat(root)
    document["categories"] += [{"id": 3, "name": "c"}, {"id": 9, "name": "b"}, {"id": 10}]
    document["images"][1] |= {"id": 1}
    document["images"][2] |= {"file_name": "4.png"}
    with pytest.raises(DatasetError) as caught:
        dice(document)
    for text in (
        "the same name (1): 'b'",
        "the same id (1): '3'",
        "category without a name (1): entry 6",
        "two images have the same id (1): 1 (2.png)",
        "images listed twice (1): 4.png",
    ):
        assert text in str(caught.value)


def test_unreadable_image_whose_size_is_needed(root, dice):
    document = flat(root)
    del document["images"][0]["height"]
    (root / "images" / "1.png").write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"image files that can't be read \(1\): 1\.png"):
        dice(document)


def test_keypoints_that_disagree(root, dice):
    document = flat(root)
    for i, annotation in enumerate(document["annotations"]):
        annotation["keypoints"] = [1, 2, 2] * (1 + i % 2)
    with pytest.raises(DatasetError, match=r"differ in their number of keypoints: \[1, 2\]"):
        dice(document, "pose")
    for annotation in document["annotations"]:
        annotation["keypoints"] = [1, 2, 2] * 2
    document["categories"][1]["keypoints"] = ["only"]
    with pytest.raises(DatasetError, match="category 'a' names 1 keypoints, annotations have 2"):
        dice(document, "pose")
    document["categories"][1]["keypoints"] = ["x", "y"]
    document["categories"][2]["keypoints"] = ["y", "x"]
    with pytest.raises(DatasetError, match="different keypoints"):
        dice(document, "pose")
    del document["categories"][2]["keypoints"]
    document["categories"][1]["skeleton"] = [[1, 3]]
    with pytest.raises(DatasetError, match="skeleton names a keypoint that isn't there"):
        dice(document, "pose")


def test_no_annotation_at_all(root, dice):
    with pytest.raises(DatasetError, match="no annotation in annotations.json has a bbox"):
        dice(flat(root, annotations=[]))


def test_all_mistakes_at_once_with_counts_and_first_examples(root, dice):
    document = flat(root, 9)
    for i in range(1, 6):
        (root / "images" / f"{i}.png").unlink()
    for annotation in document["annotations"][5:7]:
        annotation["category_id"] = 42
    document["annotations"][8]["bbox"] = [1]
    with pytest.raises(DatasetError) as caught:
        dice(document)
    text = str(caught.value)
    assert text.startswith("data set toy has 3 mistakes:\n")
    assert "image files missing below" in text and "(5): 1.png, 2.png, 3.png, ..." in text
    assert "not declared (2): 6.png#106 category_id 42, 7.png#107 category_id 42" in text
    assert "bbox must be four numbers (1): 9.png#109: [1]" in text
