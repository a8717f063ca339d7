"""COCO panoptic: a PNG an image whose colours number its segments -> masks of things and stuff.

Every segment becomes an object with an RLE mask. Semantic segmentation learns all classes, and what no segment covers
is ignored; the other tasks learn the things (``isthing``) only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data import annotation_document as documents
from trainer.data.annotation_document import Document, Locate, Lookup
from trainer.data.files import inside, read_color_png
from trainer.data.geometry import mask_rle
from trainer.data.json_stream import JsonEntries
from trainer.data.labels import read_annotation
from trainer.data.packed_labels import add
from trainer.data.records import Category, ImageRecord, Problems


def is_panoptic(document: Document) -> bool:
    listed = document.raw.get("annotations")
    first = next(iter(listed), None) if isinstance(listed, (list, JsonEntries)) else None
    return isinstance(first, dict) and "segments_info" in first


def read_categories(document: Document, task: str, problems: Problems) -> list[Category]:
    """All classes for semantic segmentation, the things for every other task."""
    stuff = _stuff(document) if task != "semantic_segmentation" else set()
    found = [c for c in documents.read_categories(document, problems) if str(c.original_id) not in stuff]
    if not found and stuff:
        problems.error(f"{document.path.name}: none of its categories is a thing, which task={task} needs")
    return found


def read_images(
    document: Document, categories: list[Category], locate: Locate, task: str, problems: Problems
) -> list[ImageRecord]:
    """The images with a mask a segment; the PNGs are only opened when the task needs masks."""
    file, listed = document.path.name, document.raw["annotations"]
    bare = Document(document.path, {**document.raw, "annotations": []}, document.place)
    images = documents.read_images(bare, categories, locate, problems)
    by_id = {image.key: image for image in images}
    lookup = Lookup(document, categories, problems)
    stuff = _stuff(document) if task != "semantic_segmentation" else set()
    for i, entry in enumerate(listed):
        segments = entry.get("segments_info") if isinstance(entry, dict) else None
        if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
            problems.error(f"{file}: segments_info must be a list of objects", f"entry {i + 1}")
            continue
        image = by_id.get(str(entry.get("image_id")))
        if image is None:
            example = f"entry {i + 1} image_id {entry.get('image_id')}"
            problems.error(
                f"{file}: annotations of an image that is not listed", example, "annotation_unlisted"
            )
            continue
        ids = _segment_ids(document, entry, image, problems) if "segmentation" in task else None
        for segment in segments:
            if str(segment.get("category_id")) in stuff:
                continue
            where = f"{image.name}#{segment.get('id')}"
            label = lookup(segment, where)
            raw = dict(segment)
            if "segmentation" in task:
                if ids is None or label is None:
                    continue
                mask = ids == segment["id"] if type(segment.get("id")) is int else np.zeros_like(ids, bool)
                if not mask.any():
                    problems.error(f"{file}: segments that their PNG doesn't hold", where)
                    continue
                raw = {**segment, "bbox": None, "area": int(mask.sum()), "segmentation": mask_rle(mask)}
            annotation = read_annotation(raw, label, image, where, problems) if label is not None else None
            if annotation is not None:
                add(image, [annotation])
    return images


def _stuff(document: Document) -> set[str]:
    return {
        str(entry.get("id", i))
        for i, entry in enumerate(document.raw_categories)
        if entry.get("isthing") == 0
    }


def _segment_ids(
    document: Document, entry: dict[str, Any], image: ImageRecord, problems: Problems
) -> np.ndarray | None:
    """(height, width) int: the segment each pixel belongs to, 0 for none."""
    file, name = document.path.name, inside(entry.get("file_name"))
    if name is None:
        problems.error(
            f"{file}: file_name must be a path inside the data set's folder", repr(entry.get("file_name"))
        )
        return None
    stem, place = document.path.stem, document.place
    beside = document.path.parent
    near = beside.relative_to(place.root).as_posix() if beside.is_relative_to(place.root) else "."
    choices = [f"{near}/{stem}/{name}", f"{stem}/{name}", f"{near}/{name}", name]
    reasons = {choice: place.lacks(choice) for choice in choices}
    found = next((choice for choice, reason in reasons.items() if reason is None), None)
    if found is None:
        problems.error(f"{file}: panoptic PNGs {reasons[choices[0]]}", f"{stem}/{name}")
        return None
    colors = read_color_png(place.root / found)
    if colors is None or colors.shape[:2] != (image.height, image.width):
        problems.error(f"{file}: panoptic PNGs that are no colour image of their image's size", found)
        return None
    red, green, blue = (colors[..., i].astype(np.int64) for i in range(3))
    return red + 256 * green + 65536 * blue
