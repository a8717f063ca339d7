"""``dataset=auto``: which format a folder is of, or a word on why that can't be said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trainer.core.errors import DatasetError
from trainer.data.files import IMAGE_SUFFIXES, Folder
from trainer.data.formats.data_format import SPLIT_FOLDERS, folder_of, held, opened
from trainer.data.formats.format_registry import FORMATS
from trainer.data.formats.sniff import ends, sniff
from trainer.data.records import Problems
from trainer.schema import Dataset


def detect_format(dataset: Dataset, task: str) -> tuple[Dataset, str]:
    """The same options with ``format`` settled, and what was found as a sentence.

    Raises:
        DatasetError: no format fits, several do, or the one that fits can't carry ``task``.
    """
    problems = Problems()
    root = folder_of(dataset, problems)
    problems.raise_any(dataset.name or "auto")
    assert root is not None
    folder = opened(dataset)
    if dataset.train_annotations:
        kind = sniff(root / dataset.train_annotations)
        found = {"dice" if kind == "dice" else "coco": dataset.train_annotations}
    else:
        found = _candidates(folder, task)
    if len(found) > 1:
        listed = ", ".join(f"{name} ({evidence})" for name, evidence in found.items())
        raise DatasetError(
            f"dataset.path: {root} may be of several formats: {listed}. "
            f"Choose one with {' or '.join(f'dataset={name}' for name in found)}."
        )
    if not found:
        raise DatasetError(_nothing(root, folder, task))
    [(name, evidence)] = found.items()
    return dataclasses.replace(dataset, format=name), f"{root} is a {FORMATS[name].NAME}: found {evidence}"


def _candidates(folder: Folder, task: str) -> dict[str, str]:
    """Format -> evidence, of all that can carry the task."""
    found = {}
    for name, form in FORMATS.items():
        if task in form.TASKS:
            evidence = form.spot(folder, task)
            if evidence:
                found[name] = evidence
    if found.keys() & {"dice", "coco"} and _names_masks(folder, found):
        found.pop("masks", None)  # the masks are that document's
    return found


def _names_masks(folder: Folder, found: dict[str, str]) -> bool:
    return any(b'"mask_file"' in ends(folder.root / found[n]) for n in ("dice", "coco") if n in found)


def _nothing(root: Path, folder: Folder, task: str) -> str:
    """What was looked for, what is there, and what it would be good for."""
    classes = _image_folders(folder)
    if classes:
        return (
            f"dataset.path: {root} has a folder of images for each class ({', '.join(classes[:3])}"
            f"{', ...' if len(classes) > 3 else ''}). That says what is in an image but not where, and task={task} "
            "learns where: label boxes, masks or keypoints first (LabelMe, CVAT and Label Studio write formats that "
            "are read here). Image classification is not one of the tasks."
        )
    others = [
        other
        for other in ("detection", "instance_segmentation", "semantic_segmentation", "pose")
        if other != task and _candidates(folder, other)
    ]
    if others:
        kinds = {FORMATS[name].NAME for other in others for name in _candidates(folder, other)}
        return (
            f"dataset.path: {root} holds nothing for task={task}. It looks like a {' or a '.join(sorted(kinds))} "
            f"for {' or '.join(f'task={other}' for other in others)}."
        )
    looked = "; ".join(f"{name}: {form.LOOKS_FOR}" for name, form in FORMATS.items() if task in form.TASKS)
    return f"dataset.path: no data set for task={task} found in {root}{held(root)}. Looked for {looked}."


def _image_folders(folder: Folder) -> list[str]:
    """Class folders of an ImageFolder-like layout: nothing but folders of images, below a split or at once."""
    splits = {name for names in SPLIT_FOLDERS.values() for name in names}
    inner = folder.folders()
    base = next((name for name in inner if name in splits and folder.folders(name)), "")
    names = [f"{base}/{name}" if base else name for name in folder.folders(base)]
    usual = {"images", "labels", "masks", "annotations", "jpegimages", "img_dir", "ann_dir"}
    if len(names) < 2 or any(name.rpartition("/")[2].lower() in usual | splits for name in names):
        return []
    return names if all(folder.some(IMAGE_SUFFIXES, name, deep=False) for name in names) else []
