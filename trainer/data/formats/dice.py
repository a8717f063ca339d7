"""The DICE format: one annotation file a task at the data set's root, images below it (contract, section 6)."""

from __future__ import annotations

import re
from pathlib import Path

from trainer.data.annotation_document import (
    Document,
    Locate,
    open_document,
    read_categories,
    read_images,
    read_keypoints,
)
from trainer.data.convert.copy_images import ImageCopier
from trainer.data.convert.to_dice import write_dice
from trainer.data.files import Folder
from trainer.data.formats.data_format import (
    DataFormat,
    FormatPart,
    folder_of,
    listing,
    named_file,
    new_records,
    opened,
)
from trainer.data.formats.sniff import sniff
from trainer.data.records import ImageRecord, LoadedRecords, Problems, Records
from trainer.data.splits import declared
from trainer.schema import TASKS as ALL_TASKS
from trainer.schema import Dataset

FILES = {
    "detection": ("annotations_detection.json", "annotations_object_detection.json"),
    "instance_segmentation": ("annotations_segmentation.json", "annotations_instance_segmentation.json"),
    "semantic_segmentation": ("annotations_semantic_segmentation.json", "annotations_segmentation.json"),
    "pose": ("annotations_pose.json", "annotations_pose_estimation.json"),
}
_CLASSIFICATION = ("annotations_classification.json", "annotations_image_classification.json")
_PREFIX = re.compile(r"^/?datasets/[^/]+/")


class DiceFormat(DataFormat):
    """DICE: one annotation file for each task at the root of the data set, images below it."""

    title = "DICE data set"
    layout = (
        "annotations_detection.json, annotations_segmentation.json, annotations_pose.json or annotations.json"
    )
    tasks = ALL_TASKS
    writable_tasks = tasks

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return the task's file, or an ``annotations.json`` with keys that only DICE has."""
        own = next((name for name in FILES[task] if folder.has(name)), None)
        if own:
            return own
        shared = "annotations.json"
        return shared if folder.has(shared) and sniff(folder.root / shared) == "dice" else None

    def find_parts(self, dataset: Dataset, task: str, problems: Problems) -> list[FormatPart]:
        """Return the task's annotation file, and ``annotations_val.json`` if it exists."""
        root = folder_of(dataset, problems)
        if root is None:
            return []
        folder = opened(dataset)
        if dataset.train_annotations:
            main = named_file(root, dataset.train_annotations, "train_annotations", problems)
        else:
            names = [*FILES[task], "annotations.json"]
            main = next((root / name for name in names if folder.has(name)), None)
            if main is None:
                hint = next((name for name in _CLASSIFICATION if folder.has(name)), None)
                only = f". {hint} says what is in an image, not where" if hint else ""
                problems.error(
                    f"no annotation file for task={task}: {root} has none of {', '.join(names)}{listing(root)}{only}"
                )
        if main is None:
            return []
        if dataset.val_annotations:
            val = named_file(root, dataset.val_annotations, "val_annotations", problems)
        else:
            names = [f"{main.stem}_val.json", "annotations_val.json"]
            val = next((root / name for name in names if folder.has(name)), None)
        return [FormatPart(main, None)] + ([FormatPart(val, "val")] if val else [])

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read the main file. Its own splits count first, then ``annotations_val.json``, else the split is drawn."""
        folder = opened(dataset)
        first, *others = parts
        records = new_records(folder, dataset, source=first.path.name)
        main = open_document(first.path, folder, problems, dataset.group_by)
        if main is None:
            return records
        records.categories = read_categories(main, problems)
        records.images = read_images(main, records.categories, _locator(main), problems)
        records.rule = declared(main.raw, records.images, records.rule, problems)
        for other in others:
            named = dataset.val_annotations is not None
            if not named and any(image.split for image in records.images):
                problems.note(f"{main.path.name} names the splits, so {other.path.name} was not read")
                continue
            document = open_document(other.path, folder, problems, dataset.group_by)
            if document is not None:
                validation = read_images(document, records.categories, _locator(document), problems)
                _add_validation(records, validation, problems)
        if task == "pose":
            read_keypoints(records, main, problems)
        return records

    def write_records(
        self, folder: Path, task: str, loaded: LoadedRecords, copier: ImageCopier
    ) -> dict[str, int]:
        """Write it as :func:`trainer.data.convert.to_dice.write_dice` describes."""
        return write_dice(folder, task, loaded, copier, FILES[task][0])


def _add_validation(records: Records, images: list[ImageRecord], problems: Problems) -> None:
    """The validation file's images validate, also those that the main file lists."""
    validated = {image.file_name for image in images}
    for image in images:
        image.split = "val"
    both = [image for image in records.images if image.file_name in validated]
    if both:
        problems.note(f"{len(both)} images of the validation file taken out of train")
    records.images = [image for image in records.images if image.file_name not in validated]
    for image in records.images:
        image.split = image.split or "train"
    records.images += images


def _locator(document: Document) -> Locate:
    """Find a file on disk although ``file_name`` may or may not start with ``images/``.

    ``storage_info.image_root`` is a key of the object store; without its ``datasets/<id>/`` it is a folder here too.
    """
    place, storage = document.place, document.raw.get("storage_info")
    root = str(storage.get("image_root") or "") if isinstance(storage, dict) else ""
    prefixes = ["images/", ""]
    for prefix in (root.strip("/"), _PREFIX.sub("", root).strip("/")):
        if prefix and "\0" not in prefix and ".." not in prefix.split("/") and f"{prefix}/" not in prefixes:
            prefixes.insert(0, f"{prefix}/")

    def locate(name: str) -> tuple[Path, str] | str:
        reasons = []
        for prefix in prefixes:
            reason = place.lacks(f"{prefix}{name}")
            if reason is None:
                return place.root, f"{prefix}{name}"
            reasons.append(reason)
        return next((r for r in reasons if not r.startswith("missing")), f"missing below {place.root}")

    return locate
