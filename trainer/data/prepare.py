"""From ``dataset=...`` to local files that every task's reader takes: one entry for all formats.

Annotations are read, checked and written once as COCO (or index PNGs) into the cache; images stay where they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

import orjson

from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import build_folder, cache_dir
from trainer.core.errors import DatasetError
from trainer.data.bundle import DataBundle
from trainer.data.bundle_files import read_folder, up_to_date, write_folder
from trainer.data.dataset_report import FILE as REPORT
from trainer.data.dataset_report import describe_dataset
from trainer.data.formats.data_format import root_of
from trainer.data.load_records import DatasetSource, find_source, load_records
from trainer.data.records import LoadedRecords
from trainer.data.split_file import split_file
from trainer.schema import Dataset

_VERSION = 3  # of what is written; raise it when the writer or a reader changes its output
_ELSEWHERE = {
    "name",
    "path",
    "image_size",
    "scenes",
    "val_scenes",
    "scene_size",
}  # keys that labels don't depend on
_log = logging.getLogger("trainer")


def prepare(dataset: Dataset, task: str) -> DataBundle:
    """The data set in the form that training ``task`` reads, prepared anew or found in the cache.

    Raises:
        DatasetError: with every mistake found in the data set, each with a count and its first examples.
    """
    return prepare_source(find_source(dataset, task))


def prepare_source(source: DatasetSource, loaded: LoadedRecords | None = None) -> DataBundle:
    """What :func:`prepare` does for a data set that was found, and may have been read, already."""
    target = cache_dir() / "prepared" / f"{source.task}-{_key(source)}"
    if not (target.is_dir() and up_to_date(target)):
        if target.is_dir():
            _log.info("images of %s changed since it was prepared; preparing it again", source.name)
        _build(source, target, loaded or load_records(source))
    bundle = dataclasses.replace(read_folder(target), name=source.name, report=target / REPORT)
    return dataclasses.replace(bundle, notes=(source.note, *bundle.notes)) if source.note else bundle


def _build(source: DatasetSource, target: Path, loaded: LoadedRecords) -> None:
    def fill(folder: Path) -> None:
        write_folder(folder, source.name, source.task, loaded.records, loaded.splits, loaded.problems)
        loaded.problems.raise_any(source.name)
        report = describe_dataset(source.name, source.task, loaded)
        atomic_write(folder / REPORT, orjson.dumps(report, default=str))

    build_folder(target, fill, replace=target.is_dir())


def _key(source: DatasetSource) -> str:
    """Names the prepared folder by all that its content follows from, except the image files' own state."""
    dataset = source.dataset
    options = sorted((k, v) for k, v in dataclasses.asdict(dataset).items() if k not in _ELSEWHERE)
    version = (_VERSION, source.data_format.version)
    key = hashlib.sha256(repr((version, source.task, str(root_of(dataset)), options)).encode())
    for part in source.parts:
        key.update(repr((str(part.path), part.split, str(part.images))).encode())
        key.update(_state(part.path))
    if named := split_file(dataset):
        key.update(_state(named))
    return key.hexdigest()[:16]


def _state(path: Path) -> bytes:
    """A digest of a file's content; of a folder, of its files' names, sizes and times."""
    digest = hashlib.sha256()
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            return digest.digest()
        for folder, inner, names in os.walk(path):
            inner.sort()
            for name in sorted(names):
                stat = os.lstat(os.path.join(folder, name))
                digest.update(os.fsencode(f"{folder}/{name}\0{stat.st_size} {stat.st_mtime_ns}\n"))
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror}") from error
    return digest.digest()
