"""Which objects below a prefix a data set needs: its label files, and the images that they name."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.data.files import IMAGE_SUFFIXES, inside
from trainer.data.formats.data_format import FormatPart, opened
from trainer.data.formats.format_registry import load_format
from trainer.data.formats.sniff import sniff
from trainer.data.records import Problems
from trainer.schema import Dataset

_LABELS = frozenset({".json", ".txt", ".xml", ".yaml", ".yml", ".names", ".csv"})
# COCO's files for what is none of the tasks, or not for this one; they are large.
_NEVER = ("captions_", "image_info_")
_POSE = ("person_keypoints_", "keypoints_")
_DOCUMENTS = ("dice", "coco")
_DATASET = re.compile(r"^/?datasets/[^/]+/")

Has = Callable[[str], bool]


@dataclass
class ReferencedImages:
    """What a document names: objects that are there, and the names of those that aren't."""

    found: list[str] = field(default_factory=list)
    lost_images: list[str] = field(default_factory=list)
    lost_masks: list[str] = field(default_factory=list)

    def add(self, name: str, choices: Iterable[str], has: Has, lost: list[str]) -> None:
        """The first of ``choices`` that is there."""
        place = next((choice for choice in choices if has(choice)), None)
        if place is None:
            lost.append(name)
        else:
            self.found.append(place)


def label_files(names: Iterable[str], dataset: Dataset, task: str) -> list[str]:
    """Names of the text files that say what is labelled."""
    given = {dataset.train_annotations, dataset.val_annotations}
    unwanted = _NEVER if task == "pose" else (*_NEVER, *_POSE)
    return [
        name
        for name in names
        if name in given
        or (_suffix(name) in _LABELS and not (name.endswith(".json") and _base(name).startswith(unwanted)))
    ]


def documents(dataset: Dataset, task: str, problems: Problems) -> list[tuple[str, FormatPart]]:
    """(format, file) of the annotation documents that will be read for ``task``; none in the formats without any.

    ``dataset.path`` is the folder with the label files.
    """
    folder = opened(dataset)
    if dataset.format != "auto":
        kinds = [dataset.format]
    elif dataset.train_annotations:
        kinds = ["dice" if sniff(folder.root / dataset.train_annotations) == "dice" else "coco"]
    else:
        kinds = [
            kind
            for kind in _DOCUMENTS
            if task in load_format(kind).tasks and load_format(kind).matches(folder, task)
        ]
    found = []
    for kind in kinds:
        if kind in _DOCUMENTS:
            options = dataclasses.replace(dataset, format=kind)
            found += [(kind, part) for part in load_format(kind).find_parts(options, task, problems)]
    return found


def images(names: Iterable[str]) -> list[str]:
    """All images: what formats need that have a label file beside each."""
    return [name for name in names if _suffix(name) in IMAGE_SUFFIXES]


def image_root(document: dict[str, Any]) -> str:
    """``storage_info.image_root`` of a DICE document: the beginning of its images' keys; empty when it has none."""
    storage = document.get("storage_info")
    root = storage.get("image_root") if isinstance(storage, dict) else None
    clean = inside(root.lstrip("/")) if isinstance(root, str) else None
    return f"{clean}/" if clean and ".." not in str(root).split("/") else ""


def named_images(
    kind: str,
    part: FormatPart,
    document: dict[str, Any],
    root: Path,
    prefix: str,
    has: Has,
    task: str,
    problems: Problems,
) -> ReferencedImages:
    """The images and masks that a document needs.

    Args:
        kind: ``dice`` or ``coco``.
        root: the folder with the label files, ``part.path`` in it.
        prefix: the data set's own, which an image root begins with.
        has: whether there is an object of this name, relative to the prefix.
    """
    named = ReferencedImages()
    if kind == "coco" and part.split == "test" and not document.get("annotations"):
        return named  # COCO's own test files have no labels, and are not read
    places = _dice_places(document, prefix) if kind == "dice" else _coco_places(part, root)
    for entry in _entries(document, "images"):
        if name := _clean(entry, "file_name", part, problems):
            named.add(name, (_join(place, name) for place in places), has, named.lost_images)
    for entry in _with_masks(document):
        if name := _clean(entry, "mask_file", part, problems):
            named.add(name, [name], has, named.lost_masks)
    if kind == "coco" and "segmentation" in task:
        near, stem = _near(part, root), part.path.stem
        for name in _panoptic(document, part, problems):
            places = [f"{near}/{stem}", stem, near, ""]
            named.add(name, (_join(place, name) for place in places), has, named.lost_masks)
    return named


def _dice_places(document: dict[str, Any], prefix: str) -> list[str]:
    """The folders that DICE's reader looks into, in its order, after the key as it is written."""
    root = image_root(document)
    places = [root.removeprefix(prefix)] if root and root.startswith(prefix) else []
    return [*places, *([_DATASET.sub("", root)] if root else []), "images", ""]


def _coco_places(part: FormatPart, root: Path) -> list[str]:
    if part.images is not None:
        return [part.images.relative_to(root).as_posix()] if part.images.is_relative_to(root) else []
    word = re.sub("^(instances|person_keypoints|keypoints|panoptic|stuff)_", "", part.path.stem)
    return [word, f"images/{word}", f"{part.split}", f"images/{part.split}", "images", "", _near(part, root)]


def _near(part: FormatPart, root: Path) -> str:
    """The folder of an annotation file."""
    return part.path.parent.relative_to(root).as_posix() if part.path.is_relative_to(root) else "."


def _with_masks(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("images", "annotations"):
        for entry in _entries(document, key):
            if entry.get("mask_file"):
                yield entry
            for own in ("annotations", "annotation"):
                inner = entry.get(own)
                for one in inner if isinstance(inner, list) else [inner]:
                    if isinstance(one, dict) and one.get("mask_file"):
                        yield one


def _panoptic(document: dict[str, Any], part: FormatPart, problems: Problems) -> Iterator[str]:
    for entry in _entries(document, "annotations"):
        if "segments_info" in entry:
            name = _clean(entry, "file_name", part, problems)
            if name:
                yield name


def _entries(document: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """The objects in a list of a document, which may be one that is read from its file piece by piece."""
    listed = document.get(key)
    for entry in listed if isinstance(listed, Iterable) and not isinstance(listed, (str, dict)) else ():
        if isinstance(entry, dict):
            yield entry


def _clean(entry: dict[str, Any], key: str, part: FormatPart, problems: Problems) -> str | None:
    name = inside(entry.get(key))
    if name is None:
        problems.error(
            f"{part.path.name}: {key} must be a path inside the data set's folder", repr(entry.get(key))
        )
    return name


def _join(place: str, name: str) -> str:
    return posixpath.normpath(f"{place}/{name}") if place else name


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
