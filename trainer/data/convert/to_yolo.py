"""Records -> YOLO: ``images/<split>/``, ``labels/<split>/`` and ``data.yaml``.

What YOLO can't hold, and what is done with it:

- a mask of several parts, or with holes: one polygon with bridges of no width
  (:mod:`trainer.data.convert.mask_to_polygon`);
- crowd regions: left out, because YOLO would learn them as single objects;
- ids: ``original_ids.json`` beside ``data.yaml``, for each image and line;
- ``area``, and the box of an object with a polygon: they follow from the numbers that are written.

Coordinates are written as shares with 8 decimals: within 0.001 px for any image OpenCV reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import yaml

from trainer.core.atomic_files import atomic_write
from trainer.data.convert.copy_images import ImageCopier
from trainer.data.convert.mask_to_polygon import mask_to_polygon
from trainer.data.formats.yolo_yaml import label_name
from trainer.data.records import Annotation, ImageRecord, LoadedRecords, Problems


def write_yolo(folder: Path, task: str, loaded: LoadedRecords, placer: ImageCopier) -> dict[str, int]:
    """Fill ``folder``; the number of lines of each split."""
    counts: dict[str, int] = {}
    originals: dict[str, Any] = {}
    stems: dict[str, tuple[Path, str]] = {}

    def name_of(split: str, image: ImageRecord) -> str:
        """Two images of one folder must differ in more than their suffix: they would share a label file."""
        stem, dot, suffix = f"{split}/{image.name.removeprefix('images/')}".rpartition(".")
        source = image.root, image.file_name
        while stems.setdefault(stem, source) != source:
            stem += f"_{suffix}"
        return f"{stem}{dot}{suffix}"

    for split, images in loaded.splits.items():
        counts[split] = 0
        for image in placer.place(split, images, name_of):
            name = f"images/{image.file_name}"
            lines, ids = _lines(image, task, loaded.problems)
            target = folder / label_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            originals[name] = {"id": image.original_id, "file_name": image.name, "annotations": ids}
            counts[split] += len(lines)
    described = _description(task, loaded)
    atomic_write(folder / "data.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
    classes = [category.original_id for category in loaded.records.categories]
    atomic_write(folder / "original_ids.json", orjson.dumps({"classes": classes, "images": originals}))
    return counts


def _description(task: str, loaded: LoadedRecords) -> dict[str, Any]:
    described: dict[str, Any] = {split: f"images/{split}" for split in loaded.splits}
    described["names"] = {i: category.name for i, category in enumerate(loaded.records.categories)}
    points = loaded.records.keypoints
    if task == "pose" and points:
        described["kpt_shape"] = [len(points.names), 3]
        described["flip_idx"] = points.flip_idx
        described["kpt_names"] = {i: list(points.names) for i in described["names"]}
        # Keys of this trainer: YOLO's own tools pass over them.
        described["skeleton"] = [[a + 1, b + 1] for a, b in points.skeleton]
        described["sigmas"] = list(points.sigmas)
    return described


def _lines(image: ImageRecord, task: str, problems: Problems) -> tuple[list[str], list[Any]]:
    """The label file's lines, and the id that each object had."""
    lines, ids = [], []
    for annotation in image.annotations:
        if annotation.iscrowd:
            problems.note(
                "crowd regions left out: YOLO has no such thing", f"{image.name}#{annotation.original_id}"
            )
            continue
        numbers = _polygon(annotation, image) if task == "instance_segmentation" else _box(annotation, image)
        if numbers is None:
            problems.note("annotations with an empty mask skipped", f"{image.name}#{annotation.original_id}")
            continue
        if task == "pose" and annotation.keypoints:
            numbers += _points(annotation.keypoints, image)
        lines.append(" ".join([str(annotation.label), *numbers]))
        ids.append(annotation.original_id)
    return lines, ids


def _box(annotation: Annotation, image: ImageRecord) -> list[str]:
    x, y, w, h = annotation.bbox
    width, height = image.width, image.height
    return [_share(x + w / 2, width), _share(y + h / 2, height), _share(w, width), _share(h, height)]


def _polygon(annotation: Annotation, image: ImageRecord) -> list[str] | None:
    if not annotation.segmentation:
        return None
    outline = mask_to_polygon(annotation.segmentation, image.height, image.width)
    sides = (image.width, image.height)
    return outline and [_share(n, sides[i % 2]) for i, n in enumerate(outline)]  # type: ignore[return-value]


def _points(keypoints: list[float], image: ImageRecord) -> list[str]:
    texts = []
    for x, y, visible in zip(keypoints[::3], keypoints[1::3], keypoints[2::3], strict=True):
        shown = (x, y) if visible else (0.0, 0.0)
        texts += [_share(shown[0], image.width), _share(shown[1], image.height), str(int(visible))]
    return texts


def _share(value: float, side: int) -> str:
    return f"{value / side:.8f}"
