"""``dataset.split_file``: which image is in which split, told from outside the data set.

A JSON file in any of the forms in use::

    {"train": [1, "b.jpg"], "val": [3]}                       lists of ids or file names
    {"1": "train", "b.jpg": "val"}                            a split for each
    {"splits": {"1": "val"}, "seed": 42, "exclude_images": [7]}     a job's split_config, alone or under that key
    {"train_ratio": 0.8, "val_ratio": 0.1, "seed": 42}        shares; what they leave is test
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.data.files import parse_json, read_bytes
from trainer.data.formats.data_format import root_of
from trainer.data.records import SPLITS, ImageRecord, Problems, Records, SplitRule, shares_of
from trainer.schema import Dataset

_LISTS = ("custom_splits", "splits")
_OTHERS = {"method", "source", "ratio", "default_ratio", "train_ratio", "val_ratio", "test_ratio", "seed",
           "exclude_images", "created_at", "created_by", *_LISTS}  # fmt: skip


def split_file(dataset: Dataset) -> Path | None:
    """The file, relative to the data set's folder; None when there is none."""
    return root_of(dataset) / Path(dataset.split_file).expanduser() if dataset.split_file else None


def override(records: Records, path: Path, problems: Problems) -> None:
    """Forget what the data set says of its splits, and go by ``path``. Images that it doesn't name train.

    Where it has shares, those are drawn; ``exclude_images`` are left out.
    """
    content = read_bytes(path, problems)
    raw = parse_json(content, path, problems) if content is not None else None
    if raw is None:
        return
    inner = raw.get("split_config")
    raw = inner if isinstance(inner, dict) else raw
    file, names = path.name, _names(records.images)
    for image in records.images:
        image.split = None
    unknown = f"{file}: images that the data set doesn't have"
    for key, split in _named(raw, file, problems):
        for image in names.get(key, ()):
            if image.split not in (None, split):
                problems.error(f"{file}: images in two splits", f"{key}: {image.split}, {split}")
            image.split = split
        if key not in names:
            problems.error(unknown, key)
    left_out: set[int] = set()
    excluded = raw.get("exclude_images")
    for value in excluded if isinstance(excluded, list) else ():
        if str(value) not in names:
            problems.error(unknown, str(value))
        for image in names.get(str(value), ()):
            left_out.add(id(image))
            problems.note(f"{file}: images left out", image.name)
    records.images = [image for image in records.images if id(image) not in left_out]
    shares, seed = shares_of(raw), raw.get("seed")
    named = any(image.split for image in records.images)
    rule = records.rule
    records.rule = SplitRule(
        share=shares[0] if shares else rule.share,
        test=shares[1] if shares else rule.test,
        seed=seed if isinstance(seed, int) else rule.seed,
        rest="draw" if shares or not named else "train",
    )
    problems.note(f"{file} names the splits; the data set's own were not used")


def redraw(records: Records) -> None:
    """Forget who trains and who validates; test stays test."""
    for image in records.images:
        if image.split != "test":
            image.split = None
    records.rule = dataclasses.replace(records.rule, rest="draw")


def _named(raw: dict[str, Any], file: str, problems: Problems) -> Iterator[tuple[str, str]]:
    """(id or name, split) of all the file names."""
    tables = [raw[key] for key in _LISTS if isinstance(raw.get(key), dict)]
    if not tables:
        tables = [{key: value for key, value in raw.items() if key not in _OTHERS}]
    for table in tables:
        for key, value in table.items():
            split = SPLITS.get(str(key).lower())
            if isinstance(value, list) and split:
                yield from ((str(one), split) for one in value)
            elif isinstance(value, str) and value.lower() in SPLITS:
                yield str(key), SPLITS[value.lower()]
            elif value is not None and not (
                split and isinstance(value, (int, float))
            ):  # counts assign nothing
                problems.error(f"{file}: split must be train, val or test", f"{key}: {str(value)[:60]!r}")


def _names(images: list[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Images by id as text, by the data set's name, by file name; an id counts before a name."""
    found: dict[str, list[ImageRecord]] = {}
    for image in images:
        found.setdefault(image.key, []).append(image)
    for names in ([p.name for p in images], [p.file_name for p in images]):
        for name, image in zip(names, images, strict=True):
            if not any(one is image or one.name != image.name for one in found.get(name, ())):
                found.setdefault(name, []).append(image)
    return found
