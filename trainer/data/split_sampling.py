"""Drawing which images go together: by hash, so that their order changes nothing; by class; in groups; in folds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.core.errors import ConfigError
from trainer.data.files import read_index_png
from trainer.data.records import ImageRecord, Problems


@dataclass
class SplitUnit:
    """Images that must not be parted: one, or those of a group. ``labels``: how many images show each class."""

    images: list[ImageRecord]
    labels: Counter[int]
    rank: tuple[bytes, str]

    @property
    def weight(self) -> int:
        return len(self.images)


def units_of(images: list[ImageRecord], seed: int, group_by: str | None, stratify: bool) -> list[SplitUnit]:
    """The units in the order in which they are drawn: that of a hash of seed and id, or seed and group."""
    groups: dict[tuple[str, ...], list[ImageRecord]] = {}
    for image in images:
        group = group_of(image, group_by)
        key: tuple[str, ...] = (image.key, image.name) if group is None else ("group", group)
        groups.setdefault(key, []).append(image)
    units = []
    for key, members in groups.items():
        text = "/".join((str(seed), *key))
        labels = Counter(label for p in members for label in _labels(p)) if stratify else Counter()
        units.append(SplitUnit(members, labels, (hashlib.sha256(text.encode()).digest(), text)))
    return sorted(units, key=lambda unit: unit.rank)


def group_of(image: ImageRecord, group_by: str | None) -> str | None:
    """What a image has in common with others; None for one that stands alone.

    ``group_by`` is a regular expression with one group, searched in the file's name, or a field of the image's entry
    in the annotation file, which the reader has put into ``image.group``.
    """
    if group_by is None:
        return None
    pattern = group_pattern(group_by)
    if pattern is None:
        return image.group
    found = pattern.search(image.name)
    return found.group(1) if found else None


def group_pattern(group_by: str) -> re.Pattern[str] | None:
    """The expression, or None where ``group_by`` names a field (a word without any bracket).

    Raises:
        ConfigError: it is neither.
    """
    if re.fullmatch(r"[\w.-]+", group_by):
        return None
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"dataset.group_by: {group_by!r} is no regular expression: {error}") from error
    if pattern.groups != 1:
        raise ConfigError(
            f"dataset.group_by: {group_by!r} must have one group in brackets, as in 'video_(\\d+)', or be the name "
            f"of a field of the images; it has {pattern.groups} groups"
        )
    return pattern


def note_groups(images: list[ImageRecord], group_by: str, problems: Problems) -> None:
    """Say which images have no group; a mistake where none has."""
    lone = [image for image in images if group_of(image, group_by) is None]
    where = "has the field" if group_pattern(group_by) is None else "has a name that matches"
    if images and len(lone) == len(images):
        problems.error(f"dataset.group_by: no image {where} {group_by!r}", lone[0].name)
    for image in lone if len(lone) < len(images) else ():
        problems.note("images without a group stand alone in the split", image.name)


def part(units: list[SplitUnit], shares: Sequence[float], stratify: bool) -> list[list[SplitUnit]]:
    """The units in parts of about ``shares`` (which add up to 1) of all images; the last takes what remains.

    While there are units enough no part is empty: the last gets one before the first, that before the others.
    """
    total = sum(unit.weight for unit in units)
    parts = _by_class(units, shares) if stratify else _in_order(units, [round(s * total) for s in shares])
    last = len(parts) - 1
    for number in (last, *range(last)):
        if parts[number] or not shares[number] > 0:
            continue
        # The first and the last go before those between them, which may lose their only unit to them.
        givers = [
            p for i, p in enumerate(parts) if len(p) > 1 or (p and 0 < i < last and number in (0, last))
        ]
        if givers:
            giver = max(givers, key=len)
            smallest = min(giver, key=lambda unit: (unit.weight, unit.rank))
            giver.remove(smallest)
            parts[number].append(smallest)
    return parts


def folds(units: list[SplitUnit], count: int, stratify: bool) -> list[list[SplitUnit]]:
    """``count`` parts of about equal size, each unit in one of them.

    Raises:
        ConfigError: there are fewer units.
    """
    if len(units) < count:
        raise ConfigError(
            f"dataset.fold: {count} folds need {count} images or groups; there are {len(units)}"
        )
    if stratify:
        return part(units, [1 / count] * count, True)
    dealt: list[list[SplitUnit]] = [[] for _ in range(count)]
    sizes = [0] * count
    for unit in sorted(units, key=lambda unit: (-unit.weight, unit.rank)):
        least = sizes.index(min(sizes))
        dealt[least].append(unit)
        sizes[least] += unit.weight
    return dealt


def _in_order(units: list[SplitUnit], wanted: list[int]) -> list[list[SplitUnit]]:
    """Each part but the last takes units, in their order, while that brings it nearer to its number of images."""
    left = list(units)
    parts: list[list[SplitUnit]] = []
    for number in wanted[:-1]:
        taken: list[SplitUnit] = []
        rest: list[SplitUnit] = []
        have, number = 0, max(1, number) if number or not parts else 0
        for unit in left:
            if abs(have + unit.weight - number) < abs(have - number):
                taken.append(unit)
                have += unit.weight
            else:
                rest.append(unit)
        parts.append(taken)
        left = rest
    return [*parts, left]


def _by_class(units: list[SplitUnit], shares: Sequence[float]) -> list[list[SplitUnit]]:
    """Iterative stratification (Sechidis et al., 2011): the rarest class first, each unit to the part that lacks most.

    The units' order decides between equals, so the result follows from the seed alone.
    """
    total = sum(unit.weight for unit in units)
    room = [share * total for share in shares]
    labels = sum((unit.labels for unit in units), Counter())
    lack = {label: [share * count for share in shares] for label, count in labels.items()}
    holders: dict[int, list[int]] = {label: [] for label in labels}
    for number, unit in enumerate(units):
        for label in unit.labels:
            holders[label].append(number)
    parts: list[list[SplitUnit]] = [[] for _ in shares]
    free = set(range(len(units)))

    def give(number: int, to: int) -> None:
        unit = units[number]
        free.discard(number)
        parts[to].append(unit)
        room[to] -= unit.weight
        for label, count in unit.labels.items():
            lack[label][to] -= count
            labels[label] -= count

    while left := [label for label, count in labels.items() if count > 0]:
        rarest = min(left, key=lambda label: (labels[label], label))
        waiting = [number for number in holders[rarest] if number in free]
        for number in sorted(waiting, key=lambda n: -units[n].labels[rarest]):  # sorted() keeps their order
            give(number, max(range(len(shares)), key=lambda i: (lack[rarest][i], room[i], -i)))
    for number in sorted(free, key=lambda n: (-units[n].weight, units[n].rank)):
        give(number, max(range(len(shares)), key=lambda i: (room[i], -i)))
    return parts


def _labels(image: ImageRecord) -> set[int]:
    """The classes that a image shows; of one with a mask and no objects, the mask's values."""
    if image.annotations or image.mask is None:
        return {annotation.label for annotation in image.annotations}
    indices = read_index_png(image.mask)
    return set() if indices is None else set(np.unique(indices).tolist()) - {255}
