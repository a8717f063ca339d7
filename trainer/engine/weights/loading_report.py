"""What became of a file's tensors, for people and for ``run.json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 4  # tensors that a message names


@dataclass(frozen=True)
class NewTensor:
    """A tensor that keeps its initial values, wholly or in some rows: shapes there and here, and why."""

    name: str
    there: tuple[int, ...] | None
    here: tuple[int, ...]
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({dims(self.there)} there, {dims(self.here)} here)" if self.there else self.name


@dataclass
class LoadingReport:
    """One file's.

    Attributes:
        source: the file, or where it came from.
        total: tensors of the model (its counters of batches aside); ``loaded`` of them are the file's, unchanged.
        anew: the others, as far as they have to do with classes or the image's size.
        kept: classes or keypoints whose rows in those were taken from the file.
        fresh: parts of the model that the file has nothing of, with their number of tensors.
        unused: tensors of the file that this model has no place for.
        what: ``classes`` or ``keypoints``; ``there`` and ``here`` are their numbers, where they matter.
    """

    source: str
    total: int = 0
    loaded: int = 0
    anew: list[NewTensor] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    fresh: dict[str, int] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    what: str = "classes"
    there: int | None = None
    here: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model is the file's."""
        return not self.anew and not self.fresh and not self.notes

    def __str__(self) -> str:
        parts = [f"{self.source}: loaded {self.loaded} of {self.total} tensors"]
        for why, group in self._reasons().items():
            parts.append(f"re-initialised {len(group)}: {some(map(str, group))} ({why})")
        if self.kept:
            parts.append(f"kept rows: {some(self.kept, 12)}")
        if self.fresh:
            named = ", ".join(f"{part} ({count})" for part, count in self.fresh.items())
            parts.append(f"not in the file, as initialised: {named}")
        if self.unused:
            parts.append(f"not used: {len(self.unused)} tensors of the file ({some(self.unused, 2)})")
        return "; ".join([*parts, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """As ``run.json`` keeps it; lists in full, what is empty left out."""
        found = {key: value for key, value in asdict(self).items() if value not in ([], {}, None)}
        for each in found.get("anew", []):
            each["there"], each["here"] = each["there"] and list(each["there"]), list(each["here"])
        return found

    def _reasons(self) -> dict[str, list[NewTensor]]:
        grouped: dict[str, list[NewTensor]] = {}
        for each in self.anew:
            grouped.setdefault(each.why, []).append(each)
        return grouped


def some(items: Iterable[str], count: int = SHOWN) -> str:
    """The first of the items, and how many more there are."""
    listed = list(items)
    more = f", ... ({len(listed) - count} more)" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def dims(shape: Sequence[int] | None) -> str:
    """``256x64x1x1``."""
    return "x".join(map(str, shape)) if shape else "a number"
