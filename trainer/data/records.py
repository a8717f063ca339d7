"""What every format's reader yields and the one writer takes: neutral records in memory, and the list of mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.data.bundle import Keypoints
from trainer.errors import DatasetError

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip
_SHOWN = 3


@dataclass(slots=True)
class Item:
    """One labelled object. ``bbox`` is x, y, width, height in px, inside the picture; ``label`` counts from 0.

    ``segmentation`` is a list of polygons ``[x1, y1, x2, y2, ...]`` or an RLE object ``{"size", "counts"}``;
    ``keypoints`` is flat: x, y, visibility (0 not labelled, 1 hidden, 2 visible) a point.
    """

    label: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int = 0
    segmentation: list[list[float]] | dict[str, Any] | None = None
    keypoints: list[float] | None = None
    original_id: Any = None


@dataclass(slots=True)
class Picture:
    """One image file ``root / file_name`` with its labels.

    ``name`` is what the data set calls the file, ``split`` the one the data set names, ``mask`` an index PNG,
    ``group`` the value of the field that ``dataset.group_by`` names.
    """

    original_id: Any
    name: str
    root: Path
    file_name: str
    width: int
    height: int
    split: str | None = None
    items: list[Item] = field(default_factory=list)
    mask: Path | None = None
    group: str | None = None

    @property
    def key(self) -> str:
        """The id as text: files mix numbers and strings."""
        return str(self.original_id)


@dataclass(frozen=True)
class Category:
    name: str
    original_id: Any
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class SplitRule:
    """How pictures without a split get one: ``share`` of them validate and ``test`` of them test, drawn by ``seed``.

    ``rest`` says what happens to them when other pictures do name a split: ``train``, or ``draw``.
    """

    share: float
    seed: int
    rest: str = "train"
    test: float = 0.0


def shares_of(config: dict[str, Any]) -> tuple[float, float] | None:
    """The shares of validation and test in any of the forms in use; a bare number is the training share.

    Where training and validation are given and leave something, that is test's.
    """
    ratio = config.get("default_ratio", config.get("ratio"))
    train, val = config.get("train_ratio"), config.get("val_ratio")
    if isinstance(ratio, dict):
        train, val = ratio.get("train", train), ratio.get("val", val)
    elif isinstance(ratio, list) and len(ratio) >= 2:
        train, val = ratio[:2]
    elif isinstance(ratio, (int, float)):
        train = ratio
    trains = float(train) if isinstance(train, (int, float)) else None
    share = val if isinstance(val, (int, float)) else 1 - trains if trains is not None else None
    if share is None or not 0 < share < 1:
        return None
    left = 1 - trains - share if trains is not None else 0.0
    return float(share), left if 1e-6 < left < 1 - share else 0.0


@dataclass
class Records:
    """A data set: classes without background, pictures in the file's order; ``source`` names it in messages.

    Semantic segmentation: ``background`` says what is no object's (``class``, ``ignore``, or ``auto``: see
    :mod:`trainer.data.semantic`), ``ignored`` the values of index masks that no class has and that don't count.
    """

    root: Path
    categories: list[Category]
    pictures: list[Picture]
    rule: SplitRule
    keypoints: Keypoints | None = None
    source: str = ""
    background: str = "auto"
    ignored: frozenset[int] = frozenset()


class Problems:
    """Mistakes and remarks, gathered so that a user hears all of them at once, each with a count and examples."""

    def __init__(self) -> None:
        self._errors: dict[str, list[str]] = {}
        self._notes: dict[str, list[str]] = {}

    def error(self, text: str, example: str | None = None) -> None:
        """A mistake; equal texts are counted and their first examples shown."""
        self._errors.setdefault(text, []).extend([] if example is None else [example])

    def note(self, text: str, example: str | None = None) -> None:
        """Something that was done and that the user may want to know."""
        self._notes.setdefault(text, []).extend([] if example is None else [example])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(_line(text, examples) for text, examples in self._notes.items())

    def raise_any(self, name: str) -> None:
        """Raise :class:`DatasetError` with every mistake so far, or do nothing when there is none."""
        lines = [_line(text, examples) for text, examples in self._errors.items()]
        if len(lines) == 1:
            raise DatasetError(f"data set {name}: {lines[0]}")
        if lines:
            listed = "\n".join(f"  - {line}" for line in lines)
            raise DatasetError(f"data set {name} has {len(lines)} mistakes:\n{listed}")


def _line(text: str, examples: list[str]) -> str:
    if not examples:
        return text
    more = ", ..." if len(examples) > _SHOWN else ""
    return f"{text} ({len(examples)}): {', '.join(examples[:_SHOWN])}{more}"
