"""A searched parameter as an axis of a plot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trainer.plots.style import shorten
from trainer.sweep.report.results import Row, SweepResults, text

ABSENT = "–"  # of a parameter that doesn't apply to a trial
_MOST_TICKS = 12


@dataclass(frozen=True)
class PlotAxis:
    """``names``: texts of the choices, in order; empty for numbers. ``log``: numbers on a logarithmic scale."""

    key: str
    names: tuple[str, ...] = ()
    log: bool = False

    def position(self, row: Row, results: SweepResults) -> float | None:
        """Where a trial lies on it: the number, or its choice's place; None where it doesn't apply."""
        values = results.searched(row)
        if self.key not in values:
            return None
        value = values[self.key]
        if not self.names:
            return float(value)
        text = shown(value)
        return float(self.names.index(text)) if text in self.names else None

    def scale(self, value: float) -> float:
        """A position on an even scale."""
        return math.log10(value) if self.log and value > 0 else value


def axes(results: SweepResults) -> list[PlotAxis]:
    """The parameters of which more than one value was tried, in the order of the sweep."""
    found: dict[str, PlotAxis] = {}
    for told in (results.about.get("space") or {}).get("parameters", []):
        key = told["key"]
        if key in found or told["kind"] == "constant":
            continue
        values = [
            searched[key]
            for row in results.rows
            if row["ended"] and key in (searched := results.searched(row))
        ]
        texts = tuple(dict.fromkeys(map(shown, values)))
        if len(texts) < 2:
            continue
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if numbers and told["kind"] != "categorical":
            found[key] = PlotAxis(key, log=bool(told.get("log")))
        elif numbers:
            found[key] = PlotAxis(key, tuple(shown(value) for value in sorted(set(values))))
        else:
            found[key] = PlotAxis(key, texts)
    return list(found.values())


def shown(value: Any) -> str:
    """A value as a tick's words."""
    return f"{value:.4g}" if isinstance(value, float) else shorten(text(value), 22)
