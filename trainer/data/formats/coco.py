"""The COCO format: annotation files of any name, their images in folders of any name."""

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
from trainer.data.convert.to_coco import write_coco
from trainer.data.files import Folder
from trainer.data.formats import panoptic
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
from trainer.data.records import Category, ImageRecord, LoadedRecords, Problems, Records
from trainer.data.splits import declared
from trainer.schema import TASKS as ALL_TASKS
from trainer.schema import Dataset

_PREFIXES = {
    "pose": ("person_keypoints_", "keypoints_", ""),
    # Every pixel's class is what this task is about; instances leave most of them open.
    "semantic_segmentation": ("panoptic_", "instances_", "stuff_", ""),
    "": ("instances_", "", "panoptic_"),
}
_PREFIX = re.compile("^(instances|person_keypoints|keypoints|panoptic|stuff)_")
_TRAIN_WORDS = ("train2017", "train2014", "train", "default")
_OTHER_WORDS = {"val": ("val", "valid", "validation"), "test": ("test",)}


class CocoFormat(DataFormat):
    """COCO: annotation files of any name, their images in folders of any name."""

    title = "COCO data set"
    layout = "annotations/instances_train2017.json, annotations/train.json, train/_annotations.coco.json or the like"
    tasks = ALL_TASKS
    writable_tasks = tasks

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return the training file of a usual layout, unless it is a DICE file of the same name."""
        usual = _usual_train(folder, task)
        kinds = ("coco",) if usual == "annotations.json" else ("coco", "dice")
        return usual if usual and sniff(folder.root / usual) in kinds else None

    def find_parts(self, dataset: Dataset, task: str, problems: Problems) -> list[FormatPart]:
        """Return the files that the user named, else those of a usual layout.

        Usual are ``annotations/instances_train2017.json``, ``annotations/train.json``,
        ``train/_annotations.coco.json``, ``annotations.json`` and the like.
        """
        root = folder_of(dataset, problems)
        if root is None:
            return []
        folder = opened(dataset)
        files: dict[str, Path | None] = {}
        if dataset.train_annotations:
            files["train"] = named_file(root, dataset.train_annotations, "train_annotations", problems)
        else:
            usual = _usual_train(folder, task)
            files["train"] = root / usual if usual else None
            if usual is None:
                problems.error(
                    f"no COCO annotation file found in {root}: name it with dataset.train_annotations{listing(root)}"
                )
            else:
                files |= {split: _sibling(usual, folder, split) for split in _OTHER_WORDS}
        if dataset.val_annotations:
            files["val"] = named_file(root, dataset.val_annotations, "val_annotations", problems)
        if files["train"] is None:
            return []
        given = {"train": dataset.train_images, "val": dataset.val_images or dataset.train_images}
        parts = []
        for split, path in files.items():
            images = given.get(split)
            place = root / Path(images).expanduser() if images else None
            if place and not place.is_dir():
                problems.error(f"dataset.{split}_images: {place} is not a folder")
            if path is not None:
                parts.append(FormatPart(path, split, place))
        return parts

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read all files. A single file is split as it says itself, else by a draw."""
        folder = opened(dataset)
        records = new_records(folder, dataset, source=parts[0].path.name)
        has_val = any(part.split == "val" for part in parts)
        points: Document | None = None
        for part in parts:
            document = open_document(part.path, folder, problems, dataset.group_by)
            if document is None:
                continue
            if part.split == "train":
                records.categories = _categories(document, task, problems)
                points = document
            if part.split == "test" and not document.raw.get("annotations"):
                continue  # COCO's own test files have no labels
            images = _read_images(document, records, part, dataset, task, problems)
            for image in images:
                if has_val or part.split != "train":
                    image.split = part.split
            if part.split == "train" and not has_val:
                records.rule = declared(document.raw, images, records.rule, problems)
            records.images += images
        if task == "pose" and points is not None:
            read_keypoints(records, points, problems)
        return records

    def write_records(
        self, folder: Path, task: str, loaded: LoadedRecords, copier: ImageCopier
    ) -> dict[str, int]:
        """Write it as :func:`trainer.data.convert.to_coco.write_coco` describes."""
        return write_coco(folder, task, loaded, copier)


def _categories(document: Document, task: str, problems: Problems) -> list[Category]:
    if panoptic.is_panoptic(document):
        return panoptic.read_categories(document, task, problems)
    return read_categories(document, problems)


def _read_images(
    document: Document, records: Records, part: FormatPart, dataset: Dataset, task: str, problems: Problems
) -> list[ImageRecord]:
    locate = _locator(part, document.place, dataset.follow_links)
    if not panoptic.is_panoptic(document):
        return read_images(document, records.categories, locate, problems)
    if records.background == "auto":
        records.background = "ignore"  # what no segment covers is what nobody could name
    return panoptic.read_images(document, records.categories, locate, task, problems)


def _usual_train(folder: Folder, task: str) -> str | None:
    prefixes = _PREFIXES.get(task, _PREFIXES[""])
    names = [f"annotations/{prefix}{word}.json" for prefix in prefixes for word in _TRAIN_WORDS]
    names += ["train/_annotations.coco.json", "_annotations.coco.json"]
    names += ["train.json", "annotations/annotations.json", "annotations.json"]
    return next((name for name in names if folder.has(name)), None)


def _sibling(train: str, folder: Folder, split: str) -> Path | None:
    """The file that differs from the training file in the split's name only."""
    if "train" not in train:
        return None
    for word in _OTHER_WORDS[split]:
        other = train.replace("train", word)
        if folder.has(other):
            return folder.root / other
    return None


def _locator(part: FormatPart, folder: Folder, follow_links: bool) -> Locate:
    """Look in the named folder, else in the folders that go with the annotation file's name."""
    if part.images is not None:
        places: list[Folder | Below] = [Folder(part.images, follow_links)]
    else:
        word = _PREFIX.sub("", part.path.stem)
        names = (word, f"images/{word}", f"{part.split}", f"images/{part.split}", "images", ".")
        found = [*(folder.root / name for name in names), part.path.parent]
        roots = [root for root in dict.fromkeys(found) if root.is_dir()]
        places = [Below(folder, root) for root in roots]

    def locate(name: str) -> tuple[Path, str] | str:
        reasons = []
        for place in places:
            reason = place.lacks(name)
            if reason is None:
                return place.root, name
            reasons.append(reason)
        return next((r for r in reasons if not r.startswith("missing")), f"missing below {folder.root}")

    return locate


class Below:
    """A folder inside another one: links may lead from it into the whole, not out of that."""

    def __init__(self, whole: Folder, root: Path) -> None:
        self.root = root
        self._whole = whole
        self._prefix = root.relative_to(whole.root).as_posix() if root.is_relative_to(whole.root) else None
        self._own = Folder(root)

    def lacks(self, name: str) -> str | None:
        if self._prefix is None:  # a named annotation file of another folder
            return self._own.lacks(name)
        return self._whole.lacks(name if self._prefix == "." else f"{self._prefix}/{name}")
