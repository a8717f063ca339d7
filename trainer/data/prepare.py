"""From ``dataset=...`` to local files that every task's reader takes: one entry for all formats.

Annotations are read, checked and written once as COCO (or index PNGs) into the cache; images stay where they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from types import ModuleType
from typing import cast

from trainer.config.schema import TASKS, Dataset
from trainer.data import coco, dice
from trainer.data.bundle import DataBundle
from trainer.data.cache import build_folder, cache_dir
from trainer.data.document import Document
from trainer.data.files import parse_json
from trainer.data.formats import Format, Part, root_of
from trainer.data.records import Picture, Problems
from trainer.data.splits import assign
from trainer.data.tasks import fit_to_task
from trainer.data.write import read_folder, up_to_date, write_folder
from trainer.errors import DatasetError, did_you_mean

_VERSION = 1  # of what is written; raise it when the writer or a reader changes its output
_FORMATS: dict[str, ModuleType] = {"dice": dice, "coco": coco}
_log = logging.getLogger("trainer")


def prepare(dataset: Dataset, task: str) -> DataBundle:
    """The data set in the form that training ``task`` reads, prepared anew or found in the cache.

    Raises:
        DatasetError: with every mistake found in the data set, each with a count and its first examples.
    """
    if task not in TASKS:
        raise DatasetError(f"no task {task!r}; one of {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    if dataset.format == "digits":
        from trainer.data.digits import digits_folder

        folder = digits_folder(dataset)
        name = dataset.name or "digits"
        dataset = Dataset(
            name=name, format="dice", path=str(folder), val_ratio=dataset.val_ratio, seed=dataset.seed
        )
    if dataset.format not in _FORMATS:
        known = ["digits", *_FORMATS]
        raise DatasetError(
            f"dataset.format: no format {dataset.format!r}; one of {', '.join(known)}."
            f"{did_you_mean(dataset.format, known)}"
        )
    name = dataset.name or (Path(dataset.path).name if dataset.path else dataset.format)
    return _prepare(dataset, name, task, cast(Format, _FORMATS[dataset.format]))


def _prepare(dataset: Dataset, name: str, task: str, form: Format) -> DataBundle:
    problems = Problems()
    parts = form.find(dataset, task, problems)
    contents = {part.path: _content(part.path, problems) for part in parts}
    problems.raise_any(name)
    target = cache_dir() / "prepared" / f"{task}-{_key(dataset, task, parts, contents)}"
    if target.is_dir():
        if up_to_date(target):
            return dataclasses.replace(read_folder(target), name=name)
        _log.info("images of %s changed since it was prepared; preparing it again", name)

    documents = [(part, parse_json(contents[part.path], part.path, problems)) for part in parts]
    problems.raise_any(name)
    parsed = [
        (part, Document(part.path, raw, root_of(dataset))) for part, raw in documents if raw is not None
    ]
    records = form.read(parsed, dataset, task, problems)
    fit_to_task(records, task, parsed[0][1], problems)
    splits = assign(records, problems)
    problems.raise_any(name)
    _remark_empty(splits, problems)

    def fill(folder: Path) -> None:
        write_folder(folder, name, task, records, splits, problems)
        problems.raise_any(name)

    build_folder(target, fill, replace=target.is_dir())
    return dataclasses.replace(read_folder(target), name=name)


def _content(path: Path, problems: Problems) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problems.error(f"{path} can't be read: {error.strerror}")
        return b""


def _key(dataset: Dataset, task: str, parts: list[Part], contents: dict[Path, bytes]) -> str:
    """Names the prepared folder by all that its content follows from, except the image files' own state."""
    options = (dataset.format, dataset.val_annotations, dataset.val_ratio, dataset.seed)
    key = hashlib.sha256(repr((_VERSION, task, str(root_of(dataset)), options)).encode())
    for part in parts:
        key.update(repr((str(part.path), part.split, str(part.images))).encode())
        key.update(hashlib.sha256(contents[part.path]).digest())
    return key.hexdigest()[:16]


def _remark_empty(splits: dict[str, list[Picture]], problems: Problems) -> None:
    for name, pictures in splits.items():
        if not any(picture.items or picture.mask for picture in pictures):
            problems.note(f"no object is labelled in {name}, so its metrics will be empty")
