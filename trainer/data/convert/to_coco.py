"""Records -> COCO: ``annotations/{train,val,test}.json`` and ``images/``, for masks ``masks/<split>/<name>.png``.

For semantic segmentation a category's id is its value in the masks, and each image names its ``mask_file``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from trainer.core.atomic_files import atomic_write
from trainer.data.bundle_files import coco_lists, write_lists, write_map
from trainer.data.convert.copy_images import ImageCopier, own_name
from trainer.data.records import ImageRecord, LoadedRecords, Problems
from trainer.data.semantic_maps import MapPlan, plan


def write_coco(folder: Path, task: str, loaded: LoadedRecords, placer: ImageCopier) -> dict[str, int]:
    """Fill ``folder``; the number of annotations (or masks) of each split."""
    counts = {}
    how = plan(loaded.records, loaded.problems) if task == "semantic_segmentation" else None
    for split, images in loaded.splits.items():
        placed = placer.place(split, images, own_name)
        path = folder / "annotations" / f"{split}.json"
        if how:
            content = document(placed, task, loaded, how)
            add_masks(folder, content, {split: placed}, how, loaded.problems)
            atomic_write(path, orjson.dumps(content))
            counts[split] = len(placed)
        else:
            counts[split] = write_lists(path, _lists(placed, task, loaded, None))["annotations"]
    return counts


def document(
    placed: list[ImageRecord], task: str, loaded: LoadedRecords, how: MapPlan | None
) -> dict[str, Any]:
    """COCO's three lists, with the data set's own category ids and colours beside the new ones."""
    return {name: list(entries) for name, entries in _lists(placed, task, loaded, how).items()}


def _lists(
    placed: list[ImageRecord], task: str, loaded: LoadedRecords, how: MapPlan | None
) -> dict[str, Iterable[dict[str, Any]]]:
    records = loaded.records
    classes = how.classes if how else tuple(category.name for category in records.categories)
    root = placed[0].root if placed else Path(".")
    content = coco_lists(placed, root, classes, task, records.keypoints)
    entries = list(content["categories"])
    if how:
        for entry in entries:
            entry["id"] -= 1
    for entry, category in zip(entries[how.first if how else 0 :], records.categories, strict=True):
        entry["original_id"] = category.original_id
        if category.color:
            entry["color"] = "#{:02x}{:02x}{:02x}".format(*category.color)
    return {**content, "categories": entries}


def add_masks(
    folder: Path,
    content: dict[str, Any],
    splits: dict[str, list[ImageRecord]],
    how: MapPlan,
    problems: Problems,
) -> None:
    """Write the index PNG of each image, and its name into the image's entry."""
    entries = iter(content["images"])
    for split, images in splits.items():
        for image in images:
            name = f"masks/{split}/{image.file_name}.png"
            write_map(image, folder / name, how, problems)
            next(entries).update(mask_file=name, mask_format="indexed_png")
