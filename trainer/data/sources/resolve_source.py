"""``dataset.path``, whatever it names, as a folder on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trainer.core.progress import Progress
from trainer.data.sources.archive import is_archive, stem, unpacked
from trainer.schema import Dataset


def name_source(path: str) -> str:
    """What a data set at this place is called: the last part of its path, without an archive's suffix."""
    return stem(Path(path).name)


def resolve_source(dataset: Dataset, task: str, name: str) -> Dataset:
    """The same options with ``path`` a local folder: archives and what lies on S3 in the cache, folders as they are.

    Raises:
        DatasetError: it isn't there, can't be read, or holds what may not be unpacked.
        ConfigError: no S3 URI.
        NetworkError: the S3 store doesn't answer or refuses.
        ResourceError: the disk is full.
    """
    if dataset.path and "://" in dataset.path:
        from trainer.data.sources.s3_source import fetched

        return dataclasses.replace(dataset, path=str(fetched(dataset, task, name)))
    path = Path(dataset.path or ".").expanduser().absolute()
    if dataset.path is None or not is_archive(path.name) or not path.is_file():
        return dataset
    with Progress(f"unpacking {path.name}") as progress:
        folder = unpacked(path, progress.at)
    return dataclasses.replace(dataset, path=str(folder))
