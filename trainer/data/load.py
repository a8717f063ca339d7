"""From ``dataset=...`` to records with splits: the way of every format, for training and for conversion alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from trainer.config.schema import TASKS, Dataset
from trainer.data.detect import detect
from trainer.data.formats.all import FORMATS
from trainer.data.formats.base import Format, Part
from trainer.data.records import Picture, Problems, Records
from trainer.data.sources.local import brought, named
from trainer.data.splits import assign
from trainer.data.tasks import fit_to_task
from trainer.errors import DatasetError, did_you_mean


@dataclass(frozen=True)
class Source:
    """A data set that was found and not yet read: ``dataset`` with its format settled, ``note`` what was found."""

    name: str
    dataset: Dataset
    task: str
    parts: list[Part]
    note: str | None = None
    cached: bool = False  # the files are the cache's, shared with others

    @property
    def form(self) -> Format:
        return FORMATS[self.dataset.format]


@dataclass
class Loaded:
    """Records that fit the task, and which of their pictures each split has."""

    records: Records
    splits: dict[str, list[Picture]]
    problems: Problems


def find_source(dataset: Dataset, task: str) -> Source:
    """What ``dataset`` means on disk, brought there first where it is elsewhere.

    Raises:
        DatasetError: it is not there, of no known format, or can't carry ``task``.
    """
    if task not in TASKS:
        raise DatasetError(f"no task {task!r}; one of {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    note = None
    name = dataset.name or (named(dataset.path) if dataset.path else dataset.format)
    given = dataset.path
    if dataset.format != "digits":
        dataset = brought(dataset)
    if dataset.format == "digits":
        from trainer.data.digits import digits_folder

        dataset = dataclasses.replace(dataset, name=name, format="dice", path=str(digits_folder(dataset)))
    elif dataset.format == "auto":
        dataset, note = detect(dataset, task)
    form = FORMATS.get(dataset.format)
    if form is None:
        known = ["auto", "digits", *FORMATS]
        raise DatasetError(
            f"dataset.format: no format {dataset.format!r}; one of {', '.join(known)}."
            f"{did_you_mean(dataset.format, known)}"
        )
    if task not in form.TASKS:
        raise DatasetError(
            f"data set {name}: a {form.NAME} can't carry task={task}; it is for {', '.join(form.TASKS)}"
        )
    problems = Problems()
    parts = form.find(dataset, task, problems)
    problems.raise_any(name)
    return Source(name, dataset, task, parts, note, cached=dataset.path != given)


def load(source: Source) -> Loaded:
    """Read it whole.

    Raises:
        DatasetError: with every mistake found in the data set, each with a count and its first examples.
    """
    problems = Problems()
    dataset, task = source.dataset, source.task
    records = source.form.read(source.parts, dataset, task, problems)
    if dataset.background != "auto":
        records.background = dataset.background
    fit_to_task(records, task, problems)
    splits = assign(records, dataset, problems)
    problems.raise_any(source.name)
    for name, pictures in splits.items():
        if not any(picture.items or picture.mask for picture in pictures):
            problems.note(f"no object is labelled in {name}, so its metrics will be empty")
    return Loaded(records, splits, problems)
