"""The DICE format: one annotation file a task at the data set's root, images below it (contract, section 6)."""

from __future__ import annotations

import re
from pathlib import Path

from trainer.config.schema import Dataset
from trainer.data.document import Document, Locate, read_categories, read_keypoints, read_pictures
from trainer.data.formats import Part, folder_of, listing, named_file
from trainer.data.records import Picture, Problems, Records, SplitRule
from trainer.data.splits import declared

FILES = {
    "detection": ("annotations_detection.json", "annotations_object_detection.json"),
    "instance_segmentation": ("annotations_segmentation.json", "annotations_instance_segmentation.json"),
    "semantic_segmentation": ("annotations_semantic_segmentation.json", "annotations_segmentation.json"),
    "pose": ("annotations_pose.json", "annotations_pose_estimation.json"),
}
_PREFIX = re.compile(r"^/?datasets/[^/]+/")


def find(dataset: Dataset, task: str, problems: Problems) -> list[Part]:
    """The task's annotation file, and ``annotations_val.json`` where there is one."""
    folder = folder_of(dataset, problems)
    if folder is None:
        return []
    if dataset.train_annotations:
        main = named_file(folder, dataset.train_annotations, "train_annotations", problems)
    else:
        names = [*FILES[task], "annotations.json"]
        main = next((folder / name for name in names if (folder / name).is_file()), None)
        if main is None:
            wanted = ", ".join(names)
            problems.error(
                f"no annotation file for task={task}: {folder} has none of {wanted}{listing(folder)}"
            )
    if main is None:
        return []
    if dataset.val_annotations:
        val = named_file(folder, dataset.val_annotations, "val_annotations", problems)
    else:
        names = [f"{main.stem}_val.json", "annotations_val.json"]
        val = next((folder / name for name in names if (folder / name).is_file()), None)
    return [Part(main, None)] + ([Part(val, "val")] if val else [])


def read(parts: list[tuple[Part, Document]], dataset: Dataset, task: str, problems: Problems) -> Records:
    """Records of the main file; the split by its own words, else by ``annotations_val.json``, else drawn."""
    (_, main), *others = parts
    rule = SplitRule(dataset.val_ratio, dataset.seed)
    categories = read_categories(main, problems)
    pictures = read_pictures(main, categories, _locator(main), problems)
    rule = declared(main.raw, pictures, rule, problems)
    records = Records(main.folder, categories, pictures, rule)
    for other, document in others:
        named = dataset.val_annotations is not None
        if not named and any(picture.split for picture in pictures):
            problems.note(f"{main.path.name} names the splits, so {other.path.name} was not read")
            continue
        validation = read_pictures(document, categories, _locator(document), problems)
        _add_validation(records, validation, problems)
    if task == "pose":
        read_keypoints(records, main, problems)
    return records


def _add_validation(records: Records, pictures: list[Picture], problems: Problems) -> None:
    """The validation file's pictures validate, also those that the main file lists."""
    validated = {picture.file_name for picture in pictures}
    for picture in pictures:
        picture.split = "val"
    both = [picture for picture in records.pictures if picture.file_name in validated]
    if both:
        problems.note(f"{len(both)} images of the validation file taken out of train")
    records.pictures = [picture for picture in records.pictures if picture.file_name not in validated]
    for picture in records.pictures:
        picture.split = picture.split or "train"
    records.pictures += pictures


def _locator(document: Document) -> Locate:
    """Find a file on disk although ``file_name`` may or may not start with ``images/``.

    ``storage_info.image_root`` is a key of the object store; without its ``datasets/<id>/`` it is a folder here too.
    """
    folder, storage = document.folder, document.raw.get("storage_info")
    root = str(storage.get("image_root") or "") if isinstance(storage, dict) else ""
    prefixes = ["images/", ""]
    for prefix in (root.strip("/"), _PREFIX.sub("", root).strip("/")):
        if prefix and ".." not in prefix.split("/") and f"{prefix}/" not in prefixes:
            prefixes.insert(0, f"{prefix}/")

    def locate(name: str) -> tuple[Path, str] | None:
        for prefix in prefixes:
            if (folder / f"{prefix}{name}").is_file():
                return folder, f"{prefix}{name}"
        return None

    return locate
