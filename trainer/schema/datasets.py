"""The data sets: the choices of the group ``dataset``, one class for each format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.core import plugins
from trainer.schema.declaration import Choice, typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field

AUTO, DIGITS = "auto", "digits"


def formats() -> tuple[str, ...]:
    """The formats that a data set's files may have, those of plug-ins too; ``auto`` finds out which."""
    return (AUTO, *plugins.names("trainer.formats"))


def dataset_formats() -> tuple[str, ...]:
    """All that ``dataset.format`` takes: the formats of files, and the built-in digits."""
    return (DIGITS, *formats())


@dataclass
class Dataset(Choice):
    """A data set: what it is called, where its files are, and how it is split.

    A plug-in's format has all of these keys; with keys of its own, it names a subclass as ``config_class``.
    """

    group: ClassVar[str] = "dataset"
    key: ClassVar[str] = "format"
    name: str = typed_field("", "what the data set is called in run names and the tracker")
    format: str = typed_field("digits", "how it is stored", choices=dataset_formats)
    path: str | None = typed_field(
        None, "the data set: a folder, an archive or s3://bucket/prefix", kind="path"
    )
    train_annotations: str | None = typed_field(
        None, "annotation file of the training split, relative to path", kind="path"
    )
    val_annotations: str | None = typed_field(
        None, "annotation file of the validation split, relative to path", kind="path"
    )
    train_images: str | None = typed_field(
        None, "coco: folder of the training images, relative to path", kind="path"
    )
    val_images: str | None = typed_field(
        None, "coco: folder of the validation images, relative to path", kind="path"
    )
    classes: list[str] = typed_field(
        [],
        "names of the classes, the first for number or value 0, where the data set doesn't name them itself",
    )
    background: str = typed_field(
        "auto",
        "semantic segmentation: pixels of no object are class 0, or 255 and don't count; auto: as the format has it",
        choices=("auto", "class", "ignore"),
        tasks=("semantic_segmentation",),
    )
    follow_links: bool = typed_field(False, "read files behind links that lead out of the data set's folder")
    on_error: str = typed_field(
        "fail",
        "faults in the data: stop (fail), repair what can be repaired (fix), or leave them out (skip)",
        choices=("fail", "fix", "skip"),
    )
    val_ratio: float = typed_field(
        0.2, "share of the images for validation when the data set names no split", gt=0, le=0.9
    )
    test_ratio: float = typed_field(0.0, "share of the images for test when the split is drawn", ge=0, le=0.9)
    split_file: str | None = typed_field(
        None, "JSON file that says which image is in which split, relative to path", kind="path"
    )
    resplit: bool = typed_field(False, "draw train and val again, whatever split the data set has")
    stratify: bool = typed_field(False, "draw so that each split has its share of every class")
    fold: str | None = typed_field(
        None, "k-fold: i/k, fold i (from 0) of k validates and the others train", kind="fold"
    )
    group_by: str | None = typed_field(
        None,
        "keep images together in a split: a regular expression on the file name with one group, or an image's field",
    )
    seed: int = typed_field(42, "seed of the split, and of the digit scenes", ge=0)
    image_size: Any = typed_field(
        None, "size fed to the network in px: one integer or [width, height]", kind="size"
    )


_ANNOTATIONS = frozenset({"train_annotations", "val_annotations"})
_IMAGES = frozenset({"train_images", "val_images"})
_CLASSES = frozenset({"classes"})


@dataclass
class DigitsDataset(Dataset):
    """``dataset=digits``: handwritten digits on photographs, drawn here."""

    unused: ClassVar[frozenset[str]] = (
        _ANNOTATIONS | _IMAGES | _CLASSES
        | {"path", "follow_links", "on_error", "val_ratio", "test_ratio", "split_file", "resplit", "stratify"}
        | {"fold", "group_by"}
    )  # fmt: skip
    scenes: int = typed_field(1200, "digits: training scenes", ge=1)
    val_scenes: int = typed_field(200, "digits: validation scenes", ge=1)
    scene_size: int = typed_field(96, "digits: width and height of a scene in px", ge=32, le=2048)


@dataclass
class AutoDataset(Dataset):
    """``dataset=auto``: files whose format is detected."""

    format: str = typed_field("auto", "how it is stored", choices=dataset_formats)


@dataclass
class DiceDataset(Dataset):
    """``dataset=dice``."""

    unused: ClassVar[frozenset[str]] = _IMAGES | _CLASSES
    format: str = typed_field("dice", "how it is stored", choices=dataset_formats)


@dataclass
class CocoDataset(Dataset):
    """``dataset=coco``."""

    unused: ClassVar[frozenset[str]] = _CLASSES
    format: str = typed_field("coco", "how it is stored", choices=dataset_formats)


@dataclass
class FolderDataset(Dataset):
    """``dataset=yolo``, ``voc``, ``labelme`` and ``masks``: label files beside images, which one finds by folder."""

    unused: ClassVar[frozenset[str]] = _ANNOTATIONS | _IMAGES
