"""What a data set holds, as numbers and a few samples: ``data_report.json``, of which the picture is drawn later."""

from __future__ import annotations

import base64
import bisect
import dataclasses
import hashlib
import heapq
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from trainer.core.atomic_files import atomic_write
from trainer.data.bundle import DataBundle
from trainer.data.bundle_files import palette
from trainer.data.records import ImageRecord, LoadedRecords, Problems
from trainer.data.semantic_maps import MapPlan, index_map, plan

FILE = "data_report.json"
SAMPLES = {"train": 5, "val": 3}
_LOOKED_AT = 2000  # pictures among which the samples are chosen
_MAPS = 40  # index maps a split that pixels are counted in
_MAP_SIDE = 480  # px of a sample's index map
_SIZES = 300  # different image sizes that are told
_BINS = [2.0 ** (i / 2) for i in range(2, 25)]  # px: edges of the histogram of box sizes


def describe_dataset(name: str, task: str, loaded: LoadedRecords) -> dict[str, Any]:
    """The report as plain values.

    ``splits``: images, objects, images without any, and for each class its objects, or (semantic segmentation) its
    share of the pixels of up to 40 images. ``boxes`` counts the square roots of box areas in px between ``box_edges``.
    """
    records, splits = loaded.records, loaded.splits
    how = plan(records, Problems()) if task == "semantic_segmentation" else None
    classes = how.classes if how else tuple(category.name for category in records.categories)
    sizes = Counter((p.width, p.height) for images in splits.values() for p in images)
    points = records.keypoints
    return {
        "version": 1,
        "data_set": name,
        "task": task,
        "root": str(records.root),
        "classes": list(classes),
        "palette": palette(records.categories, background=bool(how and how.first)),
        "keypoints": list(points.names) if points else [],
        "skeleton": [list(pair) for pair in points.skeleton] if points else [],
        "box_edges": [round(edge, 2) for edge in _BINS],
        "splits": {split: _split(images, classes, how) for split, images in splits.items()},
        "image_sizes": [[*size, count] for size, count in sizes.most_common(_SIZES)],
        "findings": [dataclasses.asdict(finding) for finding in loaded.problems.findings],
        "samples": [
            _sample(image, split, how)
            for split, count in SAMPLES.items()
            for image in _chosen(splits.get(split, []), count)
        ],
    }


def write_report(folder: Path, bundle: DataBundle) -> None:
    """Put a prepared data set's report into a run's folder; the run's drawing process makes the picture of it."""
    if bundle.report is None:
        return
    content = orjson.loads(bundle.report.read_bytes())
    atomic_write(folder / FILE, orjson.dumps(content | {"data_set": bundle.name}))


def _split(images: list[ImageRecord], classes: tuple[str, ...], how: MapPlan | None) -> dict[str, Any]:
    shown: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    bare = 0
    for image in images:
        annotations = image.annotations  # of a large data set made anew each time
        bare += not annotations and image.mask is None
        for annotation in annotations:
            shown[annotation.label] += 1
            sizes[_bin(annotation.bbox[2] * annotation.bbox[3])] += 1
    content: dict[str, Any] = {
        "images": len(images),
        "objects": sum(shown.values()),
        "images_without_labels": bare,
        "boxes": [sizes[i] for i in range(len(_BINS) - 1)] if shown else [],
    }
    if how is None:
        return content | {"classes": {name: shown[label] for label, name in enumerate(classes)}}
    pixels = np.zeros(256, np.int64)
    for image in _chosen(images, _MAPS):
        indices = index_map(image, how, Problems())
        if indices is not None:
            pixels += np.bincount(indices.ravel(), minlength=256)
    total = max(1, int(pixels[: len(classes)].sum()))
    return content | {"pixels": {name: round(int(pixels[i]) / total, 5) for i, name in enumerate(classes)}}


def _bin(area: float) -> int:
    """Which of the histogram's bars a box of so many px counts for; the outermost take what is beyond."""
    return min(max(bisect.bisect_right(_BINS, math.sqrt(area)) - 1, 0), len(_BINS) - 2)


def _chosen(images: list[ImageRecord], count: int) -> list[ImageRecord]:
    """Pictures that show many classes between them: the next is always the one with most that were seen least."""
    ranked = heapq.nsmallest(_LOOKED_AT, images, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    if len(ranked) <= count or not any(image.annotations for image in ranked):
        return ranked[:count]
    seen: Counter[int] = Counter()
    chosen: list[ImageRecord] = []
    left = [(image, {annotation.label for annotation in image.annotations}) for image in ranked]
    while len(chosen) < count:
        best = max(range(len(left)), key=lambda i: sum(1 / (1 + 9 * seen[label]) for label in left[i][1]))
        image, labels = left.pop(best)
        chosen.append(image)
        seen.update(labels)
    return chosen


def _sample(image: ImageRecord, split: str, how: MapPlan | None) -> dict[str, Any]:
    """A picture's file and labels; an index map as a PNG of at most 480 px in base64."""
    sample: dict[str, Any] = {
        "split": split,
        "name": image.name,
        "file": str(image.root / image.file_name),
        "width": image.width,
        "height": image.height,
    }
    if how is None:
        return sample | {"objects": [dataclasses.asdict(annotation) for annotation in image.annotations]}
    indices = index_map(image, how, Problems())
    if indices is None:
        return sample | {"objects": []}
    factor = min(1.0, _MAP_SIDE / max(indices.shape))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = cv2.resize(indices, size, interpolation=cv2.INTER_NEAREST)
    return sample | {"map_png": base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()}
