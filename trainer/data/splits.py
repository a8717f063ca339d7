"""Which images train, validate and test: what the user says, else what the data set says, else a draw."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.core.errors import ConfigError
from trainer.data.records import SPLITS, ImageRecord, Problems, Records, SplitRule, shares_of
from trainer.data.split_file import override, redraw, split_file
from trainer.data.split_sampling import folds, group_of, note_groups, part, units_of
from trainer.schema import Dataset
from trainer.schema.fields import is_fold

NAMES = ("train", "val", "test")


def declared(
    raw: dict[str, Any], images: list[ImageRecord], rule: SplitRule, problems: Problems
) -> SplitRule:
    """Apply a file's ``split_config`` / ``splits`` to images without a ``split`` of their own; the rule for the rest.

    Ids are compared as text. ``splits`` may also hold counts, which assign nothing.
    """
    given = raw.get("split_config")
    config: dict[str, Any] = given if isinstance(given, dict) else {}
    named: dict[str, str] = {}
    for table in (raw.get("splits"), config.get("splits")):
        for key, value in table.items() if isinstance(table, dict) else ():
            if isinstance(value, str) and value.lower() in SPLITS:
                named[str(key)] = SPLITS[value.lower()]
            elif isinstance(value, str):
                problems.error("split_config: split must be train, val or test", f"image {key}: {value!r}")
    for image in images:
        if image.split is None:
            image.split = named.get(image.key)
    shares, seed = shares_of(config), config.get("seed")
    return SplitRule(
        share=shares[0] if shares else rule.share,
        test=shares[1] if shares else rule.test,
        seed=seed if isinstance(seed, int) else rule.seed,
        rest="train" if config.get("method", "manual") in ("manual", "use_dataset", "custom") else "draw",
    )


def assign(records: Records, dataset: Dataset, problems: Problems) -> dict[str, list[ImageRecord]]:
    """``{"train", "val", ["test"]}``: every image once, except where a single one (or group) is all there is.

    Raises:
        ConfigError: ``dataset.fold`` or ``dataset.group_by`` can't be meant.
    """
    if dataset.test_ratio:
        if dataset.val_ratio + dataset.test_ratio >= 1:
            raise ConfigError("dataset.val_ratio and dataset.test_ratio leave nothing to train on")
        records.rule = dataclasses.replace(records.rule, test=dataset.test_ratio)
    file = split_file(dataset)
    if file is not None:
        override(records, file, problems)
    if dataset.resplit:
        redraw(records)
    if dataset.group_by:
        note_groups(records.images, dataset.group_by, problems)
    if dataset.fold is not None:
        _fold(records, dataset, problems)
    else:
        _draw_free(records, dataset, problems)
    splits = _splits(records.images)
    if not splits["val"] and splits["train"]:
        remark = "no image was assigned to val, so some of train's are: "
        if _draw(splits["train"], records.rule, dataset, problems, remark, test=0.0):
            splits = _splits(records.images)
        else:
            splits["val"] = splits["train"]
            only = "image" if len(splits["train"]) == 1 else "group of images"
            problems.note(f"there is one training {only} only; it is validated on too")
    if records.images and not splits["train"]:
        problems.error(
            "no image is assigned to train; check split, split_config or splits in the annotation file"
        )
    if not splits["test"]:
        del splits["test"]
    return splits


def straddling(splits: dict[str, list[ImageRecord]], group_by: str) -> dict[str, list[str]]:
    """Groups that are in more than one split, and in which."""
    where: dict[str, dict[str, None]] = {}
    for name, images in splits.items():
        for image in images:
            group = group_of(image, group_by)
            if group is not None:
                where.setdefault(group, {})[name] = None
    return {group: list(names) for group, names in where.items() if len(names) > 1}


def _splits(images: list[ImageRecord]) -> dict[str, list[ImageRecord]]:
    return {name: [image for image in images if image.split == name] for name in NAMES}


def _draw_free(records: Records, dataset: Dataset, problems: Problems) -> None:
    rule, images = records.rule, records.images
    free = [image for image in images if image.split is None]
    if free and (len(free) == len(images) or rule.rest == "draw"):
        test = rule.test if not any(image.split == "test" for image in images) else 0.0
        if not _draw(free, rule, dataset, problems, "", test=test):
            for image in free:
                image.split = "train"
    elif free:
        for image in free:
            image.split = "train"
        problems.note("images without a split put into train", f"{len(free)}, first {free[0].name}")
    elif dataset.stratify and images:
        problems.note(
            "dataset.stratify changed nothing: the data set names its splits (dataset.resplit=true draws them anew)"
        )


def _draw(
    images: list[ImageRecord],
    rule: SplitRule,
    dataset: Dataset,
    problems: Problems,
    remark: str,
    *,
    test: float,
) -> bool:
    """Draw train, val and test from ``images``; False where they can't be parted."""
    units = units_of(images, rule.seed, dataset.group_by, dataset.stratify)
    if len(units) < 2:
        return False
    shares = {"val": rule.share, "test": test, "train": max(0.0, 1 - rule.share - test)}
    for name, members in zip(shares, part(units, list(shares.values()), dataset.stratify), strict=True):
        for unit in members:
            for image in unit.images:
                image.split = name
    counts = {name: sum(image.split == name for image in images) for name in NAMES}
    told = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name != "test")
    problems.note(f"{remark}split drawn with seed {rule.seed}{_how(dataset)}: {told}")
    return True


def _fold(records: Records, dataset: Dataset, problems: Problems) -> None:
    """Fold ``i`` of ``n`` validates and the others train; images that test keep doing that."""
    if not is_fold(str(dataset.fold)):
        raise ConfigError(
            f"dataset.fold: expected <fold>/<folds> with folds counted from 0, as in 0/5; got {dataset.fold!r}"
        )
    index, count = (int(number) for number in str(dataset.fold).split("/"))
    images = [image for image in records.images if image.split != "test"]
    if any(image.split for image in images):
        problems.note("dataset.fold: the data set's own train and val were put together and parted anew")
    units = units_of(images, records.rule.seed, dataset.group_by, dataset.stratify)
    for number, members in enumerate(folds(units, count, dataset.stratify)):
        for unit in members:
            for image in unit.images:
                image.split = "val" if number == index else "train"
    val = sum(image.split == "val" for image in images)
    problems.note(
        f"fold {index} of {count} (from 0) with seed {records.rule.seed}{_how(dataset)}: "
        f"{len(images) - val} train, {val} val"
    )


def _how(dataset: Dataset) -> str:
    by_class = ", by class" if dataset.stratify else ""
    return f"{by_class}, in groups by {dataset.group_by}" if dataset.group_by else by_class
