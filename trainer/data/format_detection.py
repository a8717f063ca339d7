"""``dataset=auto``: find out which format a folder is of, or explain why that is not possible."""

from __future__ import annotations

import dataclasses

from trainer.core.errors import DatasetError
from trainer.data.files import IMAGE_SUFFIXES, Folder
from trainer.data.formats.data_format import SPLIT_FOLDERS, DataFormat, folder_of, held, opened
from trainer.data.formats.format_registry import load_formats
from trainer.data.formats.sniff import ends, sniff
from trainer.data.records import Problems
from trainer.schema import TASKS, Dataset


def detect_format(dataset: Dataset, task: str) -> tuple[Dataset, str]:
    """Ask each format in turn whether it recognises the data set's folder.

    Returns:
        The same options with ``format`` set, and a sentence on what was found.

    Raises:
        DatasetError: no format fits, several do, or the one that fits can't hold labels for ``task``.
    """
    problems = Problems()
    root = folder_of(dataset, problems)
    problems.raise_any(dataset.name or "auto")
    assert root is not None
    folder = opened(dataset)
    formats = load_formats()
    if dataset.train_annotations:
        kind = sniff(root / dataset.train_annotations)
        evidence = {"dice" if kind == "dice" else "coco": dataset.train_annotations}
    else:
        evidence = _candidates(formats, folder, task)
    if len(evidence) > 1:
        candidates = ", ".join(f"{name} ({file})" for name, file in evidence.items())
        raise DatasetError(
            f"dataset.path: {root} may be of several formats: {candidates}. "
            f"Choose one with {' or '.join(f'dataset={name}' for name in evidence)}."
        )
    if not evidence:
        raise DatasetError(_explain_no_match(formats, folder, task))
    [(name, file)] = evidence.items()
    return dataclasses.replace(dataset, format=name), f"{root} is a {formats[name].title}: found {file}"


def _candidates(formats: dict[str, DataFormat], folder: Folder, task: str) -> dict[str, str]:
    """Return format -> evidence, of all that fit and can hold labels for the task."""
    evidence = {}
    for name, data_format in formats.items():
        if task in data_format.tasks and (file := data_format.matches(folder, task)):
            evidence[name] = file
    documents = [evidence[name] for name in ("dice", "coco") if name in evidence]
    if any(b'"mask_file"' in ends(folder.root / file) for file in documents):
        evidence.pop("masks", None)  # the masks belong to that document
    return evidence


def _explain_no_match(formats: dict[str, DataFormat], folder: Folder, task: str) -> str:
    """Say what was looked for, what is there, and for which task it could be used."""
    root = folder.root
    classes = _class_folders(folder)
    if classes:
        return (
            f"dataset.path: {root} has a folder of images for each class ({', '.join(classes[:3])}"
            f"{', ...' if len(classes) > 3 else ''}). That says what is in an image but not where, and task={task} "
            "learns where: label boxes, masks or keypoints first (LabelMe, CVAT and Label Studio write formats that "
            "are read here). Image classification is not one of the tasks."
        )
    by_task = {other: _candidates(formats, folder, other) for other in TASKS if other != task}
    others = [other for other, evidence in by_task.items() if evidence]
    if others:
        titles = sorted({formats[name].title for other in others for name in by_task[other]})
        return (
            f"dataset.path: {root} has no labels for task={task}. It looks like a {' or a '.join(titles)} "
            f"for {' or '.join(f'task={other}' for other in others)}."
        )
    layouts = "; ".join(f"{name}: {each.layout}" for name, each in formats.items() if task in each.tasks)
    return f"dataset.path: no data set for task={task} found in {root}{held(root)}. Looked for {layouts}."


def _class_folders(folder: Folder) -> list[str]:
    """Return the class folders of an image classification data set: nothing but folders of images."""
    splits = {name for names in SPLIT_FOLDERS.values() for name in names}
    base = next((name for name in folder.folders() if name in splits and folder.folders(name)), "")
    names = [f"{base}/{name}" if base else name for name in folder.folders(base)]
    usual = {"images", "labels", "masks", "annotations", "jpegimages", "img_dir", "ann_dir"}
    if len(names) < 2 or any(name.rpartition("/")[2].lower() in usual | splits for name in names):
        return []
    return names if all(folder.some(IMAGE_SUFFIXES, name, deep=False) for name in names) else []
