"""What every format's reader yields and the one writer takes: neutral records in memory, and the list of mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.errors import DatasetError
from trainer.data.bundle import Keypoints
from trainer.data.checks.rules import RULES

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip
_SHOWN = 3


@dataclass(slots=True)
class Annotation:
    """One labelled object. ``bbox`` is x, y, width, height in px, inside the image; ``label`` counts from 0.

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
class ImageRecord:
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
    annotations: list[Annotation] = field(default_factory=list)
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
    """How images without a split get one: ``share`` of them validate and ``test`` of them test, drawn by ``seed``.

    ``rest`` says what happens to them when other images do name a split: ``train``, or ``draw``.
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
    """A data set: classes without background, images in the file's order; ``source`` names it in messages.

    Semantic segmentation: ``background`` says what is no object's (``class``, ``ignore``, or ``auto``: see
    :mod:`trainer.data.semantic_maps`), ``ignored`` the values of index masks that no class has and that don't count.
    """

    root: Path
    categories: list[Category]
    images: list[ImageRecord]
    rule: SplitRule
    keypoints: Keypoints | None = None
    source: str = ""
    background: str = "auto"
    ignored: frozenset[int] = frozenset()


@dataclass
class Finding:
    """One kind of mistake, mending, warning or note: how often, and where first."""

    level: str  # error, fix, warning, note
    text: str
    rule: str | None
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.count:
            return self.text
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.text} ({self.count}): {', '.join(self.examples)}{more}"


class Problems:
    """Mistakes and remarks, gathered so that a user hears all of them at once, each with a count and examples.

    ``on_error`` is ``dataset.on_error``: what :mod:`trainer.data.checks.rules` has a remedy for is no mistake then.
    """

    def __init__(self, on_error: str = "fail") -> None:
        self._on_error = on_error
        self._found: dict[tuple[bool, str], Finding] = {}

    def error(self, text: str, example: str | None = None, rule: str | None = None) -> None:
        """A mistake; equal texts are counted and their first examples shown.

        The caller leaves out what it is about; where that is what the rule has for ``on_error``, it is no mistake.
        """
        remedy = self.remedy(rule) if rule else None
        if remedy is None:
            self._add("error", text, example, rule)
        else:
            self._add("fix", f"{text}; {remedy}", example, rule)

    def note(self, text: str, example: str | None = None, rule: str | None = None) -> None:
        """Something that was done, or is so, and that the user may want to know."""
        self._add(RULES[rule].level if rule else "note", text, example, rule)

    def remedy(self, rule: str) -> str | None:
        """What is to be done about ``rule``; None: nothing."""
        return RULES[rule].remedy(self._on_error)

    @property
    def failed(self) -> bool:
        """Whether there is any mistake."""
        return any(finding.level == "error" for finding in self._found.values())

    @property
    def findings(self) -> list[Finding]:
        """All of them, mistakes first, notes last."""
        order = ("error", "warning", "fix", "note")
        return sorted(self._found.values(), key=lambda finding: order.index(finding.level))

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(str(finding) for finding in self._found.values() if finding.level != "error")

    def raise_any(self, name: str) -> None:
        """Raise :class:`DatasetError` with every mistake so far, or do nothing when there is none."""
        errors = [finding for finding in self._found.values() if finding.level == "error"]
        if len(errors) == 1:
            raise DatasetError(f"data set {name}: {errors[0]}{self._way_out(errors)}")
        if errors:
            listed = "\n".join(f"  - {error}" for error in errors)
            raise DatasetError(
                f"data set {name} has {len(errors)} mistakes:\n{listed}{self._way_out(errors)}"
            )

    def _add(self, level: str, text: str, example: str | None, rule: str | None) -> None:
        finding = self._found.setdefault((level == "error", text), Finding(level, text, rule))
        if example is not None:
            finding.count += 1
            if len(finding.examples) < _SHOWN:
                finding.examples.append(example)

    def _way_out(self, errors: list[Finding]) -> str:
        """How to train all the same, where that is possible."""
        for policy in ("fix", "skip"):
            if all(error.rule and RULES[error.rule].remedy(policy) for error in errors):
                done = "mends this" if policy == "fix" else "leaves out what this is about"
                return f"\n(dataset.on_error={policy} {done} and goes on)"
        return ""


@dataclass
class LoadedRecords:
    """A data set that was read and checked for a task: its records, and the images of each split."""

    records: Records
    splits: dict[str, list[ImageRecord]]
    problems: Problems
