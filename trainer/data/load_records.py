"""From ``dataset=...`` to records with splits: the way of every format, for training and for conversion alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from trainer.core.errors import DatasetError, did_you_mean
from trainer.data.checks.run_checks import check_files, check_labels, check_splits
from trainer.data.format_detection import detect_format
from trainer.data.formats.data_format import DataFormat, FormatPart
from trainer.data.formats.format_registry import format_names, load_format
from trainer.data.records import LoadedRecords, Problems
from trainer.data.sources.resolve_source import name_source, resolve_source
from trainer.data.splits import assign
from trainer.data.task_filter import filter_for_task
from trainer.schema import TASKS, Dataset


@dataclass(frozen=True)
class DatasetSource:
    """A data set that was found and not yet read: ``dataset`` with its format settled, ``note`` what was found."""

    name: str
    dataset: Dataset
    task: str
    parts: list[FormatPart]
    note: str | None = None
    origin: str | None = None  # dataset.path as given, where the files are the cache's, shared with others
    built_in: bool = False  # made here, so its files need no looking at

    @property
    def data_format(self) -> DataFormat:
        """The format that the data set is in."""
        return load_format(self.dataset.format)


def find_source(dataset: Dataset, task: str) -> DatasetSource:
    """What ``dataset`` means on disk, brought there first where it is elsewhere.

    Raises:
        DatasetError: it is not there, of no known format, or can't carry ``task``.
    """
    if task not in TASKS:
        raise DatasetError(f"no task {task!r}; one of {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    known = ["auto", "digits", *format_names()]
    if dataset.format not in known:
        raise DatasetError(
            f"dataset.format: no format {dataset.format!r}; one of {', '.join(known)}."
            f"{did_you_mean(dataset.format, known)}"
        )
    note = None
    name = dataset.name or (name_source(dataset.path) if dataset.path else dataset.format)
    given = dataset.path
    built_in = dataset.format == "digits"
    if not built_in:
        dataset = resolve_source(dataset, task, name)
    if built_in:
        from trainer.data.digits import digits_folder

        dataset = dataclasses.replace(dataset, name=name, format="dice", path=str(digits_folder(dataset)))
    elif dataset.format == "auto":
        dataset, note = detect_format(dataset, task)
        if dataset.path != given:
            note = note.replace(str(dataset.path), str(given))  # the cache's folder says nothing to anybody
    data_format = load_format(dataset.format)
    if task not in data_format.tasks:
        raise DatasetError(
            f"data set {name}: a {data_format.title} can't hold labels for task={task}; it is for "
            f"{', '.join(data_format.tasks)}"
        )
    problems = Problems()
    parts = data_format.find_parts(dataset, task, problems)
    problems.raise_any(name)
    origin = given if dataset.path != given else None
    return DatasetSource(name, dataset, task, parts, note, origin, built_in)


def load_records(source: DatasetSource) -> LoadedRecords:
    """Read it whole.

    Raises:
        DatasetError: with every mistake found in the data set, each with a count and its first examples.
    """
    loaded = read_records(source)
    loaded.problems.raise_any(source.name)
    return loaded


def read_records(source: DatasetSource) -> LoadedRecords:
    """Like :func:`load_records`, with the mistakes left in ``problems``."""
    dataset, task = source.dataset, source.task
    problems = Problems(dataset.on_error)
    records = source.data_format.read_records(source.parts, dataset, task, problems)
    listed = bool(records.images)
    digests = {} if source.built_in else check_files(records, problems)
    if dataset.background != "auto":
        records.background = dataset.background
    filter_for_task(records, task, problems)
    if not source.built_in:
        check_labels(records, problems)
    splits = assign(records, dataset, problems)
    if not source.built_in:
        check_splits(records, splits, digests, dataset, problems)
    if listed and not splits["train"] and not problems.failed:
        problems.error("no image is left to train on")
    return LoadedRecords(records, splits, problems)
