"""What a format's module offers: ``find`` names its annotation files, ``read`` turns them into records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.config.schema import Dataset
from trainer.data.document import Document
from trainer.data.records import Problems, Records


@dataclass(frozen=True)
class Part:
    """One annotation file, the split it stands for (None: all), and the folder the user named for its images."""

    path: Path
    split: str | None
    images: Path | None = None


class Format(Protocol):
    """A new format is a module with these two functions and a line in :mod:`trainer.data.prepare`."""

    def find(self, dataset: Dataset, task: str, problems: Problems) -> list[Part]: ...

    def read(
        self, parts: list[tuple[Part, Document]], dataset: Dataset, task: str, problems: Problems
    ) -> Records: ...


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
