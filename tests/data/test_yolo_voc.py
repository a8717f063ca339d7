"""What the forms of YOLO, Pascal VOC, LabelMe and mask folders say in words of their own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml

from tests.data.conftest import everything, image, names, write
from tests.data.folders import THINGS, labelme, make, png
from trainer.data.prepare import prepare
from trainer.schema import Dataset

NAMES = {"names": ["cat", "dog"]}


def load(root, form, task="detection", **options):
    return prepare(Dataset(format=form, path=str(root), **options), task)


def described(root, **content):
    write(root / "data.yaml", yaml.safe_dump(content).encode())


@pytest.mark.parametrize("forms", [["cat", "dog"], {0: "cat", 1: "dog"}, {"0": "cat", "1": "dog"}])
def test_yolo_names_as_list_or_numbers(root, forms):
    make("yolo", root, "detection")
    described(root, names=forms, train="images/train", val="images/val")
    assert load(root, "yolo").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("path", "train", "val"),
    [
        (None, "images/train", ["images/val"]),
        (".", ["images/train"], "images/val"),
        ("../elsewhere/set", "images/train", "images/val"),
        ("/home/somebody/set", "images/train", "images/val"),
        (None, "../images/train", "../images/val"),
        (None, "train.txt", "val.txt"),
        (None, "absolute_train.txt", "absolute_val.txt"),
    ],
)
def test_yolo_places_of_images(root, path, train, val):
    make("yolo", root, "detection")
    for split in ("train", "val"):
        listed = [f"images/{split}/{t.stem}.png" for t in THINGS if t.split == split]
        write(root / f"{split}.txt", "".join(f"./{n}\n" for n in listed).encode())
        write(root / f"absolute_{split}.txt", "".join(f"/gone/ds/{n}\n" for n in listed).encode())
    described(root, **NAMES, train=train, val=val, **({"path": path} if path else {}))
    bundle = load(root, "yolo")
    assert names(bundle.train) == {f"pic{i}.png" for i in range(4)} and bundle.val.num_images == 2


def test_yolo_without_data_yaml(root):
    make("yolo", root, "detection")
    (root / "data.yaml").unlink()
    assert load(root, "yolo", classes=["cat", "dog"]).val.num_images == 2
    write(root / "classes.txt", b"cat\ndog\n")
    assert load(root, "yolo").classes == ("cat", "dog")


def test_yolo_image_without_labels_shows_nothing(root):
    make("yolo", root, "detection")
    (root / "labels" / "train" / "pic0.txt").unlink()
    write(root / "labels" / "train" / "pic1.txt", b"")
    bundle = load(root, "yolo")
    assert everything(bundle)["pic0.png"] == [] == everything(bundle)["pic1.png"]
    assert any("without a label file show nothing (1): pic0.png" in note for note in bundle.notes)


def test_yolo_keypoints_as_pairs(root):
    make("yolo", root, "detection")
    for t in THINGS:
        write(root / "labels" / t.split / f"{t.stem}.txt", b"0 0.5 0.5 0.5 0.5 0.25 0.5 0 0\n")
    described(root, **NAMES, train="images/train", val="images/val", kpt_shape=[2, 2], flip_idx=[1, 0])
    bundle = load(root, "yolo", "pose")
    assert everything(bundle)["pic0.png"][0]["keypoints"] == [16, 24, 2, 0, 0, 0]
    assert bundle.keypoints is not None and bundle.keypoints.flip_pairs == ((0, 1),)


def test_voc_difficult_counts_as_crowd_and_boxes_from_one(root):
    make("voc", root, "detection")
    file = root / "Annotations" / "pic0.xml"
    text = file.read_text().replace("<difficult>0", "<difficult>1")
    write(file, text.encode())
    annotation = everything(load(root, "voc"))["pic0.jpg"][0]
    assert annotation["iscrowd"] == 1 and annotation["bbox"] == THINGS[0].box


def test_voc_lists_decide_which_images_there_are(root):
    make("voc", root, "detection")
    write(root / "ImageSets" / "Main" / "val.txt", b"pic4\n")
    bundle = load(root, "voc")
    assert names(bundle.val) == {"pic4.jpg"}
    assert any("ImageSets don't list were left out (1): pic5" in note for note in bundle.notes)


def test_voc_xml_beside_images(root):
    make("voc", root, "detection")
    for t in THINGS:
        place = root / "flat" / ("valid" if t.split == "val" else "train")
        place.mkdir(parents=True, exist_ok=True)
        (root / "JPEGImages" / f"{t.stem}.jpg").rename(place / f"{t.stem}.jpg")
        (root / "Annotations" / f"{t.stem}.xml").rename(place / f"{t.stem}.xml")
    bundle = load(root / "flat", "auto")
    assert (bundle.train.num_images, bundle.val.num_images) == (4, 2)


def test_labelme_circles_groups_and_loose_points(root):
    image(root / "a.png")
    image(root / "b.png")
    square = [[2, 2], [8, 2], [8, 8], [2, 8]]
    shapes = [
        {"label": "cat", "group_id": 4, "shape_type": "polygon", "points": square},
        {"label": "cat", "group_id": 4, "shape_type": "polygon", "points": [[20, 20], [30, 20], [30, 30]]},
        {"label": "dog", "group_id": None, "shape_type": "circle", "points": [[40, 20], [45, 20]]},
        {"label": "dog", "group_id": None, "shape_type": "line", "points": [[1, 1], [2, 2]]},
    ]
    document = {"shapes": shapes, "imagePath": "..\\set\\a.png", "imageWidth": 64, "imageHeight": 48}
    write(root / "a.json", document | {"imagePath": "a.png"})
    write(root / "b.json", document | {"imagePath": "b.png"})
    bundle = load(root, "labelme", "instance_segmentation")
    cat, dog = everything(bundle)["a.png"]
    assert len(cat["segmentation"]) == 2 and cat["bbox"] == [2, 2, 28, 28]
    assert dog["area"] == pytest.approx(np.pi * 25, rel=0.01)
    assert any("shapes of type line left out" in note for note in bundle.notes)


def test_labelme_loose_points_go_to_the_only_object(root):
    labelme(root, "pose")
    for file in root.rglob("*.json"):
        write(file, file.read_bytes().replace(b'"group_id":1', b'"group_id":null'))
    bundle = load(root, "labelme", "pose")
    assert everything(bundle)["train/pic0.png"][0]["num_keypoints"] == 3


@pytest.mark.parametrize(
    ("images", "folder_of_masks", "ending"),
    [("images", "masks", "_mask"), ("img_dir", "ann_dir", ""), ("images", "annotations", "_gt")],
)
def test_mask_folders_of_other_names(root, images, folder_of_masks, ending):
    for t in THINGS:
        image(root / images / f"{t.stem}.jpg")
        png(root / folder_of_masks / f"{t.stem}{ending}.png", t.mask(1))
    bundle = load(root, "auto", "semantic_segmentation", classes=["ground", "cat"])
    assert bundle.classes == ("ground", "cat") and bundle.train.num_images + bundle.val.num_images == 6


def test_masks_of_0_and_255_are_background_and_foreground(root):
    for t in THINGS:
        image(root / "images" / f"{t.stem}.jpg")
        png(root / "masks" / f"{t.stem}.png", t.mask(255))
    bundle = load(root, "masks", "semantic_segmentation")
    assert bundle.classes == ("background", "foreground")
    assert any("names are background, foreground" in note for note in bundle.notes)
    split = bundle.train
    assert split.list_file is not None and split.seg_map_root is not None
    for name in split.list_file.read_text().split():
        values = cv2.imread(str(split.seg_map_root / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert (values == 1).sum() == 24 * 16 and (values == 0).sum() == 64 * 48 - 24 * 16


@pytest.mark.parametrize(
    ("background", "first", "outside"), [("class", "background", 0), ("ignore", "cat", 255)]
)
def test_background_is_a_class_or_ignored(root, background, first, outside):
    make("dice", root, "semantic_segmentation")
    bundle = load(root, "dice", "semantic_segmentation", background=background)
    assert bundle.classes[0] == first
    split = bundle.val
    assert split.seg_map_root is not None
    for file in split.seg_map_root.rglob("*.png"):
        assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[0, 0] == outside


def test_train_ids_of_cityscapes_come_first(root):
    make("cityscapes", root, "semantic_segmentation")
    for file in list((root / "gtFine").rglob("*_labelIds.png")):
        png(file.with_name(file.name.replace("labelIds", "labelTrainIds")), np.full((48, 64), 2, np.uint8))
    bundle = load(root, "auto", "semantic_segmentation")
    assert bundle.train.seg_map_root is not None
    file = next(bundle.train.seg_map_root.rglob("*.png"))
    assert set(np.unique(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))) == {2}
