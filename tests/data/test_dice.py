"""The DICE variants and the eight rules of DICE -> COCO."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from tests.data.conftest import SQUARE, coco_of, everything, flat, image, names, write
from trainer.core.errors import DatasetError
from trainer.data.prepare import prepare
from trainer.schema import Dataset

BOX = {"bbox": [10, 10, 20, 20]}


def nested(root: Any, count: int = 5) -> dict[str, Any]:
    images = []
    for i in range(1, count + 1):
        image(root / "images" / f"{i}.png")
        label = {
            "id": 1,
            "class_id": i % 2,
            "bbox": [10, 10, 20, 20],
            "bbox_format": "xywh",
            "segmentation": SQUARE,
        }
        entry = {"id": i, "file_name": f"images/{i}.png", "width": 64, "height": 48, "annotations": [label]}
        images.append(entry)
    classes = [{"id": 0, "name": "a", "color": "#ff8000"}, {"id": 1, "name": "b"}]
    return {"format_version": "1.0", "classes": classes, "images": images}


def one(root: Any, label: dict[str, Any], **document: Any) -> dict[str, Any]:
    """One more image, 6.png, that carries only ``label``."""
    whole = flat(root, **document)
    image(root / "images" / "6.png")
    whole["images"].append({"id": 6, "file_name": "6.png", "width": 64, "height": 48})
    whole["annotations"].append({"id": 6, "image_id": 6, "category_id": 3} | label)
    return whole


def test_flat_variant_drops_background_and_numbers_from_one(root, dice):
    document = flat(root)
    image(root / "images" / "6.png")
    document["images"].append({"id": 6, "file_name": "6.png", "width": 64, "height": 48})
    document["annotations"].append({"id": 999, "image_id": 6, "category_id": 0})
    bundle = dice(document)
    assert bundle.classes == ("a", "b")
    found = everything(bundle)
    assert found["6.png"] == []  # a negative sample stays, without labels
    assert [a["category_id"] for a in found["1.png"] + found["2.png"]] == [2, 1]
    assert found["1.png"][0]["original_id"] == 101
    for split in bundle.splits.values():
        content = coco_of(split)
        assert [c["id"] for c in content["categories"]] == [1, 2]
        assert [a["id"] for a in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
        assert {e["id"] for e in content["images"]} == {e["original_id"] for e in content["images"]}
        assert all((split.image_root / e["file_name"]).is_file() for e in content["images"])
        assert split.num_images == len(content["images"]) and split.num_annotations == len(
            content["annotations"]
        )


def test_nested_variant_with_classes_and_colours(root, dice):
    bundle = dice(nested(root))
    assert bundle.classes == ("a", "b")
    assert bundle.palette[0] == (255, 128, 0)
    assert {name: [a["category_id"] for a in found] for name, found in everything(bundle).items()} == {
        f"images/{i}.png": [i % 2 + 1] for i in range(1, 6)
    }


def test_singular_annotation_and_class_name(root, dice):
    document = nested(root)
    for i, entry in enumerate(document["images"]):
        del entry["annotations"]
        entry["annotation"] = {"class_name": "b" if i else "__background__", **BOX}
    found = everything(dice(document))
    assert [len(found[f"images/{i}.png"]) for i in range(1, 6)] == [0, 1, 1, 1, 1]
    assert found["images/2.png"][0]["category_id"] == 2


def test_text_and_repeated_ids_are_renumbered(root, dice):
    document = nested(root)
    for entry, text in zip(document["images"], ["x1", "x2", 3, 3, "x5"], strict=True):
        entry["id"] = text
    bundle = dice(document)
    for split in bundle.splits.values():
        entries = coco_of(split)["images"]
        if any(isinstance(entry["original_id"], str) for entry in entries):
            assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
        assert len({entry["id"] for entry in entries}) == len(entries)


@pytest.mark.parametrize(
    ("image_root", "file_name", "place"),
    [
        ("datasets/ab12/images/", "s/1.png", "images/s/1.png"),
        ("datasets/ab12/images/", "images/1.png", "images/1.png"),
        ("datasets/ab12/images/", "1.png", "datasets/ab12/images/1.png"),
        ("datasets/ab12/pictures/", "1.png", "pictures/1.png"),
        ("", "1.png", "1.png"),
    ],
)
def test_finds_images_where_the_store_would_have_put_them(root, dice, image_root, file_name, place):
    image(root / place)
    document = {
        "storage_info": {"image_root": image_root, "storage_type": "s3"},
        "categories": [{"id": 1, "name": "a"}],
        "images": [{"id": 1, "file_name": file_name, "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **BOX}],
    }
    split = dice(document).train
    assert split.image_root / coco_of(split)["images"][0]["file_name"] == root / place


def test_missing_size_is_read_from_the_file(root, dice):
    document = flat(root)
    image(root / "images" / "1.png", 80, 60)
    document["images"][0].update(width=0, height=0)
    del document["images"][1]["width"]
    bundle = dice(document)
    sizes = {
        e["original_file_name"]: (e["width"], e["height"])
        for s in bundle.splits.values()
        for e in coco_of(s)["images"]
    }
    assert sizes["1.png"] == (80, 60) and sizes["2.png"] == (64, 48)


def test_size_of_a_turned_photograph_is_the_one_cv2_reads(root):
    from PIL import Image

    from trainer.data.files import image_size

    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (64, 48)).save(root / "turned.jpg", exif=exif)
    read = cv2.imread(str(root / "turned.jpg"))
    assert image_size(root / "turned.jpg") == (read.shape[1], read.shape[0]) == (48, 64)


@pytest.mark.parametrize(
    ("label", "box"),
    [
        ({"bbox": [10, 10, 30, 25], "bbox_format": "xyxy"}, [10, 10, 20, 15]),
        ({"bbox": [20, 20, 10, 8], "bbox_format": "cxcywh"}, [15, 16, 10, 8]),
        ({"bbox": [-5, 40, 20, 20]}, [0, 40, 15, 8]),
        ({"segmentation": SQUARE}, [10, 10, 20, 20]),
        ({"segmentation": SQUARE[0]}, [10, 10, 20, 20]),
        ({"segmentation": [[[10, 10], [30, 10], [30, 30]]]}, [10, 10, 20, 20]),
        ({"segmentation": {"size": [48, 64], "counts": [48 * 2 + 3, 5, 48 * 61 + 40]}}, [2, 3, 1, 5]),
        ({"keypoints": [5, 6, 2, 0, 0, 0, 25, 16, 1]}, [5, 6, 20, 10]),
    ],
)
def test_box_forms_and_boxes_derived(root, dice, label, box):
    assert everything(dice(one(root, label)))["6.png"][0]["bbox"] == box


@pytest.mark.parametrize("box", [[10, 10, 0, 5], [10, 10, 5, -1], [70, 10, 5, 5]])
def test_boxes_without_area_are_dropped_with_a_note(root, dice, box):
    bundle = dice(one(root, {"bbox": box}))
    assert everything(bundle)["6.png"] == []
    assert any("without area" in note and "6.png#6" in note for note in bundle.notes)


def test_area_is_the_files_else_the_masks_else_the_boxes(root, dice):
    document = one(root, {"segmentation": [[10, 10, 30, 10, 10, 30]]})
    document["annotations"][0]["area"] = 123.5
    del document["annotations"][1]["segmentation"]
    found = everything(dice(document))
    assert [found[name][0]["area"] for name in ("1.png", "2.png", "6.png")] == [123.5, 400, 200]


def test_masks_keep_polygons_and_rle(root, dice):
    rle = {"size": [48, 64], "counts": [48 * 2 + 3, 5, 48 * 61 + 40]}
    document = one(root, {"segmentation": rle, "iscrowd": 1})
    document["annotations"][0]["segmentation"] = [[1, 2, 3, 4], *SQUARE]
    document["annotations"][1]["segmentation"] = []
    bundle = dice(document, "instance_segmentation")
    found = everything(bundle)
    assert found["1.png"][0]["segmentation"] == SQUARE  # the polygon of two points went
    assert found["2.png"] == []  # a box alone teaches no mask
    assert found["6.png"][0]["segmentation"] == rle and found["6.png"][0]["iscrowd"] == 1
    assert any("fewer than three points" in note for note in bundle.notes)
    assert any("without segmentation" in note and "2.png#102" in note for note in bundle.notes)


def test_keypoints_nested_padded_and_counted(root, dice):
    document = flat(root)
    for annotation in document["annotations"]:
        annotation["keypoints"] = [[11, 12], [13, 14, 1], None]
    bundle = dice(document, "pose")
    assert bundle.keypoints is not None
    assert bundle.keypoints.names == ("kp0", "kp1", "kp2") and bundle.keypoints.sigmas == (0.05,) * 3
    annotation = everything(bundle)["1.png"][0]
    assert annotation["keypoints"] == [11, 12, 2, 13, 14, 1, 0, 0, 0] and annotation["num_keypoints"] == 2


def test_seventeen_points_are_a_person(root, dice):
    document = flat(root)
    for annotation in document["annotations"]:
        annotation["keypoints"] = [20, 20, 2] * 17
    points = dice(document, "pose").keypoints
    assert points is not None
    assert points.names[:3] == ("nose", "left_eye", "right_eye") and points.names[16] == "right_ankle"
    assert points.sigmas[0] == 0.026 and points.sigmas[11] == 0.107
    assert (1, 2) in points.flip_pairs and len(points.flip_pairs) == 8
    assert (15, 13) in points.skeleton and len(points.skeleton) == 19


def test_keypoint_set_of_the_category(root, dice):
    document = flat(root)
    named = {"keypoints": ["Ear_L", "ear_r", "tail"], "skeleton": [[1, 3], [2, 3]], "sigmas": [0.1, 0.1, 0.2]}
    document["categories"][1].update(named)
    for annotation in document["annotations"][1::2]:
        annotation["keypoints"] = [20, 20, 2] * 3
    bundle = dice(document, "pose")
    assert bundle.classes == ("a",)  # b has no keypoints
    assert bundle.keypoints is not None
    assert bundle.keypoints.names == ("Ear_L", "ear_r", "tail")
    assert bundle.keypoints.skeleton == ((0, 2), (1, 2)) and bundle.keypoints.flip_pairs == ((0, 1),)
    assert bundle.keypoints.sigmas == (0.1, 0.1, 0.2)
    category = coco_of(bundle.train)["categories"][0]
    assert category["keypoints"] == ["Ear_L", "ear_r", "tail"] and category["skeleton"] == [[1, 3], [2, 3]]


@pytest.mark.parametrize(
    ("task", "files", "chosen"),
    [
        ("detection", ["annotations_detection.json", "annotations.json"], "annotations_detection.json"),
        ("detection", ["annotations.json", "annotations_pose.json"], "annotations.json"),
        ("instance_segmentation", ["annotations_segmentation.json"], "annotations_segmentation.json"),
        ("semantic_segmentation", ["annotations_segmentation.json"], "annotations_segmentation.json"),
        (
            "semantic_segmentation",
            ["annotations_segmentation.json", "annotations_semantic_segmentation.json"],
            "annotations_semantic_segmentation.json",
        ),
        (
            "pose",
            ["annotations_pose_estimation.json", "annotations_detection.json"],
            "annotations_pose_estimation.json",
        ),
    ],
)
def test_the_tasks_own_file_is_read(root, task, files, chosen):
    document = flat(root)
    for annotation in document["annotations"]:
        annotation["keypoints"] = [20, 20, 2]
    for file in files:
        renamed = [
            {"id": c["id"], "name": c["name"] + ("!" if file == chosen else "?")}
            for c in document["categories"]
        ]
        write(root / file, document | {"categories": renamed[1:]})
    bundle = prepare(Dataset(name="toy", format="dice", path=str(root)), task)
    assert [name for name in bundle.classes if name != "background"] == ["a!", "b!"]


def test_no_file_for_the_task_names_those_there_are(root):
    write(root / "annotations_pose.json", flat(root))
    with pytest.raises(
        DatasetError, match=r"none of annotations_detection\.json.*there are annotations_pose\.json"
    ):
        prepare(Dataset(format="dice", path=str(root)), "detection")


def test_images_stay_in_place_and_a_second_call_reads_the_cache(root, dice, cache):
    document = flat(root)
    first = dice(document)
    written = first.train.ann_file.stat().st_mtime_ns
    assert not list(cache.rglob("*.png"))
    assert dice(None) == first and first.train.ann_file.stat().st_mtime_ns == written
    (root / "images" / "1.png").unlink()
    with pytest.raises(DatasetError, match=r"image files missing.*1\.png"):
        dice(None)
    (root / "images" / "1.png").write_bytes((root / "images" / "2.png").read_bytes() + b"other bytes")
    assert dice(None).fingerprint == first.fingerprint
    document["images"][0]["split"] = "val"
    assert dice(document).fingerprint != first.fingerprint
    assert names(dice(None).val) == {"1.png"}


def test_a_changed_image_is_measured_again(root, dice):
    document = flat(root)
    del document["images"][0]["width"]
    first = dice(document)
    image(root / "images" / "1.png", 100, 90)
    second = dice(None)
    sizes = {e["width"] for split in second.splits.values() for e in coco_of(split)["images"]}
    assert sizes == {64, 100} and second.fingerprint != first.fingerprint


def test_no_pixels_are_opened_for_sizes_that_are_given(root, dice):
    document = flat(root)
    whole = (root / "images" / "1.png").read_bytes()
    (root / "images" / "1.png").write_bytes(whole[:60] + whole[-12:])  # a header and an end
    assert np.isclose(dice(document).train.num_images, 4)
