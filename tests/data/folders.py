"""The same six labelled images as a folder of every format: what each reader must find in its own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.data.conftest import image, write

WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog")
POINTS = ("left_ear", "right_ear", "nose")
COUNT = 6


@dataclass(frozen=True)
class Thing:
    """The one object of image ``i``: a rectangle on whole pixels, so that masks and polygons agree."""

    i: int

    @property
    def stem(self) -> str:
        return f"pic{self.i}"

    @property
    def split(self) -> str:
        return "val" if self.i >= 4 else "train"

    @property
    def label(self) -> int:
        return self.i % 2

    @property
    def box(self) -> list[float]:
        return [10.0 + self.i, 12.0, 24.0, 16.0]

    @property
    def polygon(self) -> list[float]:
        x, y, w, h = self.box
        return [x, y, x + w, y, x + w, y + h, x, y + h]

    @property
    def keypoints(self) -> list[tuple[float, float, int]]:
        x, y, w, h = self.box
        return [(x, y, 2), (x + w, y, 1 if self.i == 1 else 2), (x + w / 2, y + h, 2)]

    def mask(self, value: int, outside: int = 0) -> np.ndarray:
        x, y, w, h = (int(n) for n in self.box)
        canvas = np.full((HEIGHT, WIDTH), outside, np.uint8)
        canvas[y : y + h, x : x + w] = value
        return canvas


THINGS = [Thing(i) for i in range(COUNT)]


def png(path: Path, values: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image = image.convert("P")
        image.putpalette([n for i in range(256) for n in (i, 255 - i, i * 7 % 256)])
    image.save(path)


def _annotation(thing: Thing, task: str, number: int) -> dict[str, Any]:
    label: dict[str, Any] = {"id": 70 + number, "image_id": 30 + thing.i, "bbox": thing.box, "iscrowd": 0}
    if task.endswith("segmentation"):
        label["segmentation"] = [thing.polygon]
    if task == "pose":
        label |= {"keypoints": [n for p in thing.keypoints for n in p], "num_keypoints": 3}
    return label


def _categories(key: str, task: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"id": 5 + i, "name": name} for i, name in enumerate(CLASSES)]
    if task == "pose":
        for entry in entries:
            entry |= {"keypoints": list(POINTS), "skeleton": [[1, 3], [2, 3]]}
    return entries


def coco(root: Path, task: str) -> None:
    prefix = "person_keypoints" if task == "pose" else "instances"
    for split in ("train", "val"):
        things = [thing for thing in THINGS if thing.split == split]
        for thing in things:
            image(root / f"{split}2017" / f"{thing.stem}.png", WIDTH, HEIGHT)
        document = {
            "images": [
                {"id": 30 + t.i, "file_name": f"{t.stem}.png", "width": WIDTH, "height": HEIGHT}
                for t in things
            ],
            "categories": _categories("categories", task),
            "annotations": [_annotation(t, task, t.i) | {"category_id": 5 + t.label} for t in things],
        }
        write(root / "annotations" / f"{prefix}_{split}2017.json", document)


def panoptic(root: Path, task: str) -> None:
    """Two things and a stuff class (``sky``) that fills the upper rows; the rest belongs to no segment."""
    for split in ("train", "val"):
        images, annotations = [], []
        for thing in (t for t in THINGS if t.split == split):
            image(root / f"{split}2017" / f"{thing.stem}.jpg", WIDTH, HEIGHT)
            colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            colors[:4] = (3, 2, 0)  # 3 + 256 * 2
            colors[thing.mask(1) == 1] = (9, 0, 1)  # 9 + 65536
            png(root / "annotations" / f"panoptic_{split}2017" / f"{thing.stem}.png", colors)
            size = {"width": WIDTH, "height": HEIGHT}
            images.append({"id": 30 + thing.i, "file_name": f"{thing.stem}.jpg", **size})
            segments = [
                {"id": 515, "category_id": 99, "area": 256, "bbox": [0, 0, 64, 4], "iscrowd": 0},
                {"id": 65545, "category_id": 5 + thing.label, "bbox": thing.box, "iscrowd": 0},
            ]
            entry = {"image_id": 30 + thing.i, "file_name": f"{thing.stem}.png", "segments_info": segments}
            annotations.append(entry)
        categories = [*_categories("categories", "detection"), {"id": 99, "name": "sky", "isthing": 0}]
        for category in categories[:2]:
            category["isthing"] = 1
        document = {"images": images, "annotations": annotations, "categories": categories}
        write(root / "annotations" / f"panoptic_{split}2017.json", document)


_DICE = {
    "detection": "detection", "instance_segmentation": "segmentation", "pose": "pose",
    "semantic_segmentation": "semantic_segmentation",
}  # fmt: skip


def _dice_images(root: Path, prefix: str = "") -> list[dict[str, Any]]:
    entries = []
    for t in THINGS:
        image(root / "images" / f"{t.stem}.png", WIDTH, HEIGHT)
        entry = {"id": 30 + t.i, "file_name": f"{prefix}{t.stem}.png", "width": WIDTH, "height": HEIGHT}
        entries.append(entry | {"split": t.split})
    return entries


def dice(root: Path, task: str) -> None:
    """Variant A: COCO-style with storage_info and the background category."""
    document = {
        "storage_info": {"image_root": "datasets/ab12/images/", "storage_type": "s3"},
        "categories": [{"id": 0, "name": "__background__"}, *_categories("categories", task)],
        "images": _dice_images(root),
        "annotations": [_annotation(t, task, t.i) | {"category_id": 5 + t.label} for t in THINGS],
    }
    write(root / f"annotations_{_DICE[task]}.json", document)


def dice_nested(root: Path, task: str) -> None:
    """Variant B: classes, images with their own annotations, boxes as corners, keypoints nested."""
    images = _dice_images(root, "images/")
    for t, entry in zip(THINGS, images, strict=True):
        label = _annotation(t, task, t.i)
        x, y, w, h = t.box
        label |= {"bbox": [x, y, x + w, y + h], "bbox_format": "xyxy", "class_id": 5 + t.label}
        if task == "pose":
            label["keypoints"] = [list(p) for p in t.keypoints]
        entry["annotations"] = [label]
    splits = {str(entry["id"]): entry.pop("split") for entry in images}
    document = {
        "format_version": "1.0",
        "dataset_id": "ab12",
        "task_type": task,
        "classes": _categories("classes", task),
        "splits": {"train": 4, "val": 2},
        "split_config": {"method": "manual", "seed": 42, "splits": splits},
        "images": images,
        "statistics": {"total_images": COUNT},
    }
    write(root / f"annotations_{_DICE[task]}.json", document)


def dice_singular(root: Path, task: str) -> None:
    """The older variant: one annotation an image, classes by name; for masks a mask file."""
    images = _dice_images(root)
    for t, entry in zip(THINGS, images, strict=True):
        if task == "semantic_segmentation":
            png(root / "masks" / f"{t.stem}_mask.png", t.mask(5 + t.label))
            label: dict[str, Any] = {
                "mask_file": f"masks/{t.stem}_mask.png",
                "mask_format": "indexed_png",
                "num_classes": 2,
            }
        else:
            label = _annotation(t, task, t.i) | {"class_name": CLASSES[t.label]}
            if task == "pose":
                label["keypoints"] = [list(p) for p in t.keypoints]
        entry["annotation"] = label
    write(root / "annotations.json", {"classes": _categories("classes", task), "images": images})


def _yolo_line(t: Thing, task: str) -> str:
    x, y, w, h = t.box
    numbers = [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]
    if task == "instance_segmentation":
        numbers = [n / (WIDTH, HEIGHT)[i % 2] for i, n in enumerate(t.polygon)]
    text = " ".join(f"{n:.8f}" for n in numbers)
    if task == "pose":
        text += "".join(f" {px / WIDTH:.8f} {py / HEIGHT:.8f} {v}" for px, py, v in t.keypoints)
    return f"{t.label} {text}\n"


def yolo(root: Path, task: str) -> None:
    for t in THINGS:
        image(root / "images" / t.split / f"{t.stem}.png", WIDTH, HEIGHT)
        write(root / "labels" / t.split / f"{t.stem}.txt", _yolo_line(t, task).encode())
    content: dict[str, Any] = {"train": "images/train", "val": "images/val", "nc": 2, "names": list(CLASSES)}
    if task == "pose":
        content |= {"kpt_shape": [3, 3], "flip_idx": [1, 0, 2], "kpt_names": {0: list(POINTS)}}
        content["skeleton"] = [[1, 3], [2, 3]]
    write(root / "data.yaml", yaml.safe_dump(content).encode())


def voc(root: Path, task: str) -> None:
    for t in THINGS:
        image(root / "JPEGImages" / f"{t.stem}.jpg", WIDTH, HEIGHT)
        top = ET.Element("annotation")
        ET.SubElement(top, "filename").text = f"{t.stem}.jpg"
        size = ET.SubElement(top, "size")
        for key, value in (("width", WIDTH), ("height", HEIGHT), ("depth", 3)):
            ET.SubElement(size, key).text = str(value)
        thing = ET.SubElement(top, "object")
        ET.SubElement(thing, "name").text = CLASSES[t.label]
        ET.SubElement(thing, "difficult").text = "0"
        box = ET.SubElement(thing, "bndbox")
        x, y, w, h = (int(n) for n in t.box)
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
        for key, value in corners.items():
            ET.SubElement(box, key).text = str(value)
        write(root / "Annotations" / f"{t.stem}.xml", ET.tostring(top))
        if task.endswith("segmentation"):
            png(root / "SegmentationClass" / f"{t.stem}.png", t.mask(1 + t.label), palette=True)
            png(root / "SegmentationObject" / f"{t.stem}.png", t.mask(1), palette=True)
    if task.endswith("segmentation"):
        write(root / "class_names.txt", b"background\ncat\ndog\n")
    kind = "Segmentation" if task.endswith("segmentation") else "Main"
    for split in ("train", "val"):
        stems = "".join(f"{t.stem}\n" for t in THINGS if t.split == split)
        write(root / "ImageSets" / kind / f"{split}.txt", stems.encode())


def labelme(root: Path, task: str) -> None:
    for t in THINGS:
        place = root / t.split
        image(place / f"{t.stem}.png", WIDTH, HEIGHT)
        x, y, w, h = t.box
        if t.i % 2:
            shape = {"shape_type": "rectangle", "points": [[x, y], [x + w, y + h]]}
        else:
            corners = np.reshape(t.polygon, (-1, 2)).tolist()
            shape = {"shape_type": "polygon", "points": corners}
        shapes = [{"label": CLASSES[t.label], "group_id": 1, "flags": {}, **shape}]
        if task == "pose":
            for name, (px, py, _) in zip(POINTS, t.keypoints, strict=True):
                point = {"label": name, "points": [[px, py]], "shape_type": "point", "group_id": 1}
                shapes.append(point)
        document = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": f"{t.stem}.png"}
        document |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        write(place / f"{t.stem}.json", document)


def masks(root: Path, task: str) -> None:
    for t in THINGS:
        image(root / "images" / t.split / f"{t.stem}.jpg", WIDTH, HEIGHT)
        png(root / "masks" / t.split / f"{t.stem}.png", t.mask(1 + t.label), palette=True)
    write(root / "classes.txt", b"background\ncat\ndog\n")


def cityscapes(root: Path, task: str) -> None:
    for t in THINGS:
        stem = f"{t.split}/bonn/bonn_{t.i:06d}_000019"
        image(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", WIDTH, HEIGHT)
        values = t.mask(24 + 2 * t.label, outside=7)
        values[:3] = 4  # static: not evaluated
        png(root / "gtFine" / f"{stem}_gtFine_labelIds.png", values)


FOLDERS: dict[str, tuple[Callable[[Path, str], None], tuple[str, ...]]] = {
    "coco": (coco, ("detection", "instance_segmentation", "semantic_segmentation", "pose")),
    "panoptic": (panoptic, ("detection", "instance_segmentation", "semantic_segmentation")),
    "dice": (dice, ("detection", "instance_segmentation", "semantic_segmentation", "pose")),
    "dice_nested": (dice_nested, ("detection", "instance_segmentation", "semantic_segmentation", "pose")),
    "dice_singular": (dice_singular, ("detection", "instance_segmentation", "semantic_segmentation", "pose")),
    "yolo": (yolo, ("detection", "instance_segmentation", "pose")),
    "voc": (voc, ("detection", "instance_segmentation", "semantic_segmentation")),
    "labelme": (labelme, ("detection", "instance_segmentation", "semantic_segmentation", "pose")),
    "masks": (masks, ("semantic_segmentation",)),
    "cityscapes": (cityscapes, ("semantic_segmentation",)),
}
FORMAT_OF = {
    "panoptic": "coco", "dice_nested": "dice", "dice_singular": "dice", "cityscapes": "masks",
}  # fmt: skip
CASES = [(name, task) for name, (_, tasks) in FOLDERS.items() for task in tasks]


def make(name: str, root: Path, task: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    FOLDERS[name][0](root, task)
    return root
