"""What a format's module offers: ``spot`` knows the format, ``find`` names its files, ``read`` makes records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.data.files import Folder
from trainer.data.records import Problems, Records
from trainer.schema import Dataset

TRAIN_FOLDERS = ("train", "training", "train2017", "train2014")
SPLIT_FOLDERS = {
    "train": TRAIN_FOLDERS,
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}


@dataclass(frozen=True)
class FormatPart:
    """What the labels are read from: an annotation file, or the folder that holds many of them.

    ``split`` is the one it stands for (None: the data say), ``images`` the folder the user named for its images.
    A prepared data set is made anew when the content of ``path`` changes.
    """

    path: Path
    split: str | None = None
    images: Path | None = None


class Format(Protocol):
    """A new format is a module with these five and a line in :mod:`trainer.data.formats.format_registry`."""

    NAME: str  # as a sentence has it
    LOOKS_FOR: str  # what a folder of this format holds
    TASKS: tuple[str, ...]  # what it can carry

    def spot(self, folder: Folder, task: str) -> str | None:
        """What shows that ``folder`` is of this format and may carry ``task``; a few looks, no whole reading."""

    def find(self, dataset: Dataset, task: str, problems: Problems) -> list[FormatPart]:
        """What is read for ``task``."""

    def read(self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems) -> Records:
        """The records, with every mistake in ``problems``. Never raises because of what the files hold."""


def folder_of(dataset: Dataset, problems: Problems) -> Path | None:
    """The data set's folder, or None after noting the mistake."""
    if not dataset.path:
        problems.error(
            f"dataset.path is not set; dataset.format={dataset.format} needs the data set's folder"
        )
        return None
    folder = root_of(dataset)
    if not folder.is_dir():
        problems.error(f"dataset.path: {folder} is {'not a folder' if folder.exists() else 'not there'}")
        return None
    return folder


def root_of(dataset: Dataset) -> Path:
    """The data set's folder, whether it is there or not."""
    return Path(dataset.path or ".").expanduser().absolute()


def opened(dataset: Dataset) -> Folder:
    """The data set's folder for reading."""
    return Folder(root_of(dataset), dataset.follow_links)


def find_whole(
    dataset: Dataset,
    task: str,
    problems: Problems,
    spot: Callable[[Folder, str], str | None],
    needs: str,
) -> list[FormatPart]:
    """The folder itself, for formats of many small files; ``needs`` says what it was expected to be."""
    folder = folder_of(dataset, problems)
    if folder is None:
        return []
    if spot(opened(dataset), task) is None:
        problems.error(f"{folder} is no {needs}{held(folder)}")
        return []
    return [FormatPart(folder)]


def named_file(folder: Path, name: str, key: str, problems: Problems) -> Path | None:
    """A file that the user named by ``dataset.<key>``, relative to ``folder``."""
    path = folder / Path(name).expanduser()
    if path.is_file():
        return path
    problems.error(f"dataset.{key}: {path} is not there{listing(folder)}")
    return None


def listing(folder: Path) -> str:
    """``; there are a.json, b.json`` for the JSON files near a file that was not found."""
    found = sorted(
        str(path.relative_to(folder)) for pattern in ("*.json", "*/*.json") for path in folder.glob(pattern)
    )
    if not found:
        return "; the folder holds no .json file"
    return f"; there are {', '.join(found[:6])}{', ...' if len(found) > 6 else ''}"


def held(folder: Path, count: int = 8) -> str:
    """``; it holds a/, b/, c.txt``: the first things in a folder."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    if not names:
        return "; it is empty"
    return f"; it holds {', '.join(names[:count])}{', ...' if len(names) > count else ''}"


def split_folders(folder: Folder, below: str = "") -> dict[str, str]:
    """``{"train": "images/train", ...}`` of the folders in ``below`` that are named after splits."""
    there = {name.lower(): name for name in folder.folders(below)}
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        name = next((there[name] for name in names if name in there), None)
        if name:
            found[split] = f"{below}/{name}" if below else name
    return found


def image_beside(folder: Folder, stem: str, places: Sequence[str]) -> str | None:
    """The image ``<place>/<stem>.<any image suffix>`` in the first place that has one."""
    for place in places:
        for suffix in (".jpg", ".png", ".jpeg", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp", ".tif", ".tiff"):
            name = f"{place}/{stem}{suffix}" if place else f"{stem}{suffix}"
            if folder.named(name):
                return name
    return None
