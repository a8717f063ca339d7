"""The YOLO format: a text file an image, an object a line in shares of the image's sides; ``data.yaml`` has the rest.

``class cx cy w h`` is a box, ``class x1 y1 x2 y2 x3 y3 ...`` a polygon, and with ``kpt_shape: [K, 2 or 3]`` in
``data.yaml`` ``class cx cy w h`` and K points a pose. An image without a label file shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.data.convert.copy_images import ImageCopier
from trainer.data.convert.to_yolo import write_yolo
from trainer.data.files import Folder, decode, image_size, lacking_rule
from trainer.data.formats import data_format
from trainer.data.formats.data_format import DataFormat, FormatPart, new_records, opened
from trainer.data.formats.yolo_yaml import Description, describe, label_name, yaml_file
from trainer.data.keypoint_sets import keypoint_set
from trainer.data.labels import read_annotation
from trainer.data.records import ImageRecord, LoadedRecords, Problems, Records
from trainer.schema import Dataset

_OUTSIDE = 0.01  # a share this far over the edge is rounding, and is clipped


class YoloFormat(DataFormat):
    """YOLO: a text file for each image, described by ``data.yaml``."""

    title = "YOLO data set"
    layout = "data.yaml with names and train, or images/ and labels/ with a .txt an image"
    tasks = ("detection", "instance_segmentation", "pose")
    writable_tasks = tasks

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return ``data.yaml`` with names, else a label file."""
        found = yaml_file(folder)
        if found:
            return found
        for below in ("labels", "train/labels", "labels/train"):
            for name in folder.some(frozenset({".txt"}), below):
                if name.rsplit("/", 1)[-1] not in ("classes.txt", "train.txt", "val.txt", "test.txt"):
                    return name
        return None

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read all images that ``data.yaml`` (or the names of the folders) point to."""
        folder = opened(dataset)
        described = describe(folder, dataset.classes, problems)
        source = described.file or f"{folder.root.name}/labels"
        records = new_records(folder, dataset, source=source)
        records.categories = described.categories
        seen: dict[str, str] = {}
        for split, names in described.images.items():
            for name in names:
                if name in seen:
                    if seen[name] != split:
                        problems.error(f"{source}: images in two splits", f"{name}: {seen[name]}, {split}")
                    continue
                seen[name] = split
                image = _read_image(folder, name, described, split, problems)
                if image is not None:
                    records.images.append(image)
        if not seen:
            problems.error(f"{source}: no image found in {folder.root}{data_format.held(folder.root)}")
        reader = _Lines(described, task, problems)
        for image in records.images:
            image.annotations.extend(reader.annotations(folder, image))
        reader.say()
        if task == "pose":
            _keypoints(records, described, problems)
        return records

    def write_records(
        self, folder: Path, task: str, loaded: LoadedRecords, copier: ImageCopier
    ) -> dict[str, int]:
        """Write it as :func:`trainer.data.convert.to_yolo.write_yolo` describes."""
        return write_yolo(folder, task, loaded, copier)


def _read_image(
    folder: Folder, image: str, described: Description, split: str, problems: Problems
) -> ImageRecord | None:
    lacking = folder.lacks(image)
    if lacking:
        problems.error(f"image files {lacking}", image, lacking_rule(lacking))
        return None
    size = image_size(folder.root / image)
    if size is None:
        problems.error("image files that can't be read", image, "image_unreadable")
        return None
    name = image
    for prefix in sorted(described.prefixes, key=len, reverse=True):
        if image.startswith(f"{prefix}/"):
            name = image[len(prefix) + 1 :]
            break
    return ImageRecord(
        original_id=image,
        name=name,
        root=folder.root,
        file_name=image,
        width=size[0],
        height=size[1],
        split=split if split != "all" else None,
    )


@dataclass
class _Lines:
    """Lines of label files -> objects."""

    described: Description
    task: str
    problems: Problems
    files: int = 0
    _unlabelled: list[str] = field(default_factory=list)

    def annotations(self, folder: Folder, image: ImageRecord) -> Iterator[Any]:
        name = label_name(image.file_name)
        if not folder.has(name):
            self._unlabelled.append(image.name)
            return
        content = folder.read(name, self.problems)
        text = decode(content, name, self.problems) if content is not None else None
        if text is None:
            return
        self.files += 1
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                where = f"{name}, line {number}"
                raw = self._raw(line.split(), image, where)
                label = self._label(line.split()[0], where) if raw else None
                annotation = (
                    read_annotation(raw, label, image, where, self.problems)
                    if raw and label is not None
                    else None
                )
                if annotation is not None:
                    annotation.original_id = number
                    yield annotation

    def say(self) -> None:
        if self._unlabelled and self.files:
            for name in self._unlabelled:
                self.problems.note("images without a label file show nothing", name)
        elif self._unlabelled:
            name = label_name(self._unlabelled[0])
            self.problems.error(f"no label file found for any image; the first one was looked for at {name}")

    def _label(self, text: str, where: str) -> int | None:
        if text.endswith(".0"):
            text = text[:-2]
        if text in self.described.background:
            return None
        label = self.described.labels.get(text)
        if label is None:
            self.problems.error(
                "label files with a class that is not declared", f"{where}: {text[:40]}", "category_unknown"
            )
        return label

    def _raw(self, words: list[str], image: ImageRecord, where: str) -> dict[str, Any] | None:
        """A line as an annotation with px, or None after noting what is wrong with it."""
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError:
            self.problems.error("label files must hold numbers", where, "annotation_invalid")
            return None
        if not all(map(math.isfinite, numbers)):
            self.problems.error("label files must hold numbers", where, "annotation_invalid")
            return None
        points = self.described.points
        if points:
            count, width = points
            if len(numbers) != 4 + count * width:
                self.problems.error(
                    f"lines must have {5 + count * width} numbers by kpt_shape: [{count}, {width}]",
                    f"{where}: {len(words)}",
                    "annotation_invalid",
                )
                return None
            return self._in_px(numbers[:4], _triples(numbers[4:], width), image, where)
        if len(numbers) == 4:
            return self._in_px(numbers, None, image, where)
        if len(numbers) < 6 or len(numbers) % 2:
            self.problems.error(
                "lines must have 5 numbers (a box) or 7, 9, 11, ... (a polygon); poses need kpt_shape in data.yaml",
                f"{where}: {len(words)}",
                "annotation_invalid",
            )
            return None
        if not self._shares(numbers, where):
            return None
        sides = (image.width, image.height)
        return {"segmentation": [[n * sides[i % 2] for i, n in enumerate(numbers)]]}

    def _in_px(
        self, box: list[float], points: list[float] | None, image: ImageRecord, where: str
    ) -> dict[str, Any] | None:
        x, y, w, h = box
        if not self._shares([x, y, w, h], where):
            return None
        width, height = image.width, image.height
        raw: dict[str, Any] = {
            "bbox": [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height],
        }
        if points is not None:
            sides = (width, height, 1)
            raw["keypoints"] = [n * sides[i % 3] for i, n in enumerate(points)]
        return raw

    def _shares(self, numbers: list[float], where: str) -> bool:
        if all(-_OUTSIDE <= n <= 1 + _OUTSIDE for n in numbers):
            return True
        self.problems.error(
            "coordinates must be shares of the image's sides, 0 to 1", where, "annotation_invalid"
        )
        return False


def _triples(numbers: list[float], width: int) -> list[float]:
    """x, y, visibility a point; of pairs, 0 0 is not labelled."""
    if width == 3:
        return numbers
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [n for x, y in pairs for n in ((x, y, 2.0) if x or y else (0.0, 0.0, 0.0))]


def _keypoints(records: Records, described: Description, problems: Problems) -> None:
    if not described.points:
        problems.error(f"{records.source}: task=pose needs kpt_shape: [number of points, 2 or 3]")
        return
    try:
        records.keypoints = keypoint_set(described.pose, described.points[0])
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError) as error:
        problems.error(f"{records.source}: {error}")
