"""The COCO format: annotation files of any name, their images in folders of any name."""

from __future__ import annotations

import re
from pathlib import Path

from trainer.config.schema import Dataset
from trainer.data.document import Document, Locate, read_categories, read_keypoints, read_pictures
from trainer.data.formats import Part, folder_of, listing, named_file
from trainer.data.records import Problems, Records, SplitRule
from trainer.data.splits import declared

_TASK_PREFIXES = {"pose": ("person_keypoints_", "keypoints_", ""), "": ("instances_", "")}
_TRAIN_WORDS = ("train2017", "train2014", "train", "default")
_OTHER_WORDS = {"val": ("val", "valid", "validation"), "test": ("test",)}


def find(dataset: Dataset, task: str, problems: Problems) -> list[Part]:
    """The named files, else those of a usual layout: ``annotations/instances_train2017.json``,
    ``annotations/train.json``, ``train/_annotations.coco.json``, ``annotations.json`` and their like."""
    folder = folder_of(dataset, problems)
    if folder is None:
        return []
    files: dict[str, Path | None] = {}
    if dataset.train_annotations:
        files["train"] = named_file(folder, dataset.train_annotations, "train_annotations", problems)
    else:
        usual = _usual_train(folder, task)
        files["train"] = usual
        if usual is None:
            problems.error(
                f"no COCO annotation file found in {folder}: name it with dataset.train_annotations{listing(folder)}"
            )
        else:
            files |= {split: _sibling(usual, folder, split) for split in _OTHER_WORDS}
    if dataset.val_annotations:
        files["val"] = named_file(folder, dataset.val_annotations, "val_annotations", problems)
    if files["train"] is None:
        return []
    given = {"train": dataset.train_images, "val": dataset.val_images or dataset.train_images}
    parts = []
    for split, path in files.items():
        images = given.get(split)
        place = folder / Path(images).expanduser() if images else None
        if place and not place.is_dir():
            problems.error(f"dataset.{split}_images: {place} is not a folder")
        if path is not None:
            parts.append(Part(path, split, place))
    return parts


def read(parts: list[tuple[Part, Document]], dataset: Dataset, task: str, problems: Problems) -> Records:
    """Records of all files; one file alone is split by its own words, else drawn."""
    train = parts[0][1]
    categories = read_categories(train, problems)
    rule = SplitRule(dataset.val_ratio, dataset.seed)
    records = Records(train.folder, categories, [], rule)
    has_val = any(part.split == "val" for part, _ in parts)
    for part, document in parts:
        if part.split == "test" and not document.raw.get("annotations"):
            continue  # COCO's own test files have no labels
        pictures = read_pictures(document, categories, _locator(part, document.folder), problems)
        for picture in pictures:
            if has_val or part.split != "train":
                picture.split = part.split
        if part.split == "train" and not has_val:
            records.rule = declared(document.raw, pictures, rule, problems)
        records.pictures += pictures
    if task == "pose":
        read_keypoints(records, train, problems)
    return records


def _usual_train(folder: Path, task: str) -> Path | None:
    prefixes = _TASK_PREFIXES.get(task, _TASK_PREFIXES[""])
    names = [f"annotations/{prefix}{word}.json" for prefix in prefixes for word in _TRAIN_WORDS]
    names += ["train/_annotations.coco.json", "_annotations.coco.json"]
    names += ["train.json", "annotations/annotations.json", "annotations.json"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _sibling(train: Path, folder: Path, split: str) -> Path | None:
    """The file that differs from the training file in the split's name only."""
    name = train.relative_to(folder).as_posix()
    if "train" not in name:
        return None
    for word in _OTHER_WORDS[split]:
        other = folder / name.replace("train", word)
        if other.is_file():
            return other
    return None


def _locator(part: Part, folder: Path) -> Locate:
    """Look in the named folder, else in the folders that go with the annotation file's name."""
    if part.images is not None:
        roots = [part.images]
    else:
        word = re.sub("^(instances|person_keypoints|keypoints)_", "", part.path.stem)
        names = (word, f"images/{word}", f"{part.split}", f"images/{part.split}", "images", ".")
        found = [*(folder / name for name in names), part.path.parent]
        roots = [root for root in dict.fromkeys(found) if root.is_dir()]

    def locate(name: str) -> tuple[Path, str] | None:
        return next(((root, name) for root in roots if (root / name).is_file()), None)

    return locate
