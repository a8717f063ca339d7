"""``dataset.path``, whatever it names, as a folder on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trainer.config.schema import Dataset
from trainer.data.sources.archive import is_archive, stem, unpacked
from trainer.zoo.weights.progress import Progress


def named(path: str) -> str:
    """What a data set at this place is called: the last part of its path, without an archive's suffix."""
    return stem(Path(path).name)


def brought(dataset: Dataset) -> Dataset:
    """The same options with ``path`` a local folder: archives unpacked, in the cache. Folders stay as they are.

    Raises:
        DatasetError: the archive can't be read, or holds what may not be unpacked.
        ResourceError: the disk is full.
    """
    path = Path(dataset.path or ".").expanduser().absolute()
    if dataset.path is None or not is_archive(path.name) or not path.is_file():
        return dataset
    with Progress(f"unpacking {path.name}") as progress:
        folder = unpacked(path, progress.at)
    return dataclasses.replace(dataset, path=str(folder))
