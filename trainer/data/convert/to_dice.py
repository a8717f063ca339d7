"""Records -> DICE: the task's annotation file (variant A of the contract, a split an image) and ``images/``."""

from __future__ import annotations

from pathlib import Path

import orjson

from trainer.core.atomic_files import atomic_write
from trainer.data.convert.copy_images import ImageCopier, own_name
from trainer.data.convert.to_coco import add_masks, document
from trainer.data.records import ImageRecord, LoadedRecords
from trainer.data.semantic_maps import plan


def write_dice(
    folder: Path, task: str, loaded: LoadedRecords, placer: ImageCopier, file: str
) -> dict[str, int]:
    """Fill ``folder``; the number of annotations (or masks) of each split."""
    how = plan(loaded.records, loaded.problems) if task == "semantic_segmentation" else None
    placed: dict[str, list[ImageRecord]] = {}
    counts: dict[str, int] = {}
    listed: set[tuple[Path, str]] = set()
    for split, images in loaded.splits.items():
        # An image has one split here; a lone image that also validates is drawn into both again when it is read.
        new = [p for p in images if (p.root, p.file_name) not in listed]
        listed.update((p.root, p.file_name) for p in new)
        placed[split] = placer.place(split, new, own_name)
        counts[split] = len(new) if how else sum(len(image.annotations) for image in new)
    content = document([p for images in placed.values() for p in images], task, loaded, how)
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    for annotation in content["annotations"]:
        annotation["class_name"] = names[annotation["category_id"]]
    splits = [split for split, images in placed.items() for _ in images]
    for entry, split in zip(content["images"], splits, strict=True):
        entry["split"] = split
    if how:
        add_masks(folder, content, placed, how, loaded.problems)
    head = {"storage_info": {"image_root": "images/", "storage_type": "local"}}
    atomic_write(folder / file, orjson.dumps(head | content))
    return counts
