"""Where in the search space the good trials are: slices, parallel coordinates, the Pareto front."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from trainer.plots.style import ACCENT, FAINT, GRID, INK, page
from trainer.sweep.objectives import Objective
from trainer.sweep.report.axis import ABSENT, PlotAxis, axes
from trainer.sweep.report.progress_plots import PRUNED_COLOUR, subtitle
from trainer.sweep.report.results import Row, SweepResults
from trainer.sweep.stores.trial_store import COMPLETE, PRUNED

_COLUMNS = 4
_MOST_SLICES = 12
_HEAT = "viridis"


def draw_slices(results: SweepResults, path: Path) -> bool:
    """The first objective over each parameter, later trials darker; False where there is nothing to draw."""
    found, rows = axes(results)[:_MOST_SLICES], _complete(results)
    if not found or len(rows) < 2:
        return False
    objective = results.objectives[0]
    columns = min(_COLUMNS, len(found))
    lines = -(-len(found) // columns)
    size = (max(5.5, 1.2 + 2.7 * columns), 1.2 + 2.9 * lines)
    with page(path, f"{objective.name} over each parameter", subtitle(results), size) as figure:
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
        last = max(row["number"] for row in rows)
        drawn: Any = None
        for panel, axis in zip(panels.flat, found, strict=False):
            _pruned(panel, axis, results)
            placed = [(axis.position(row, results), row) for row in rows]
            x = [(place, row) for place, row in placed if place is not None]
            drawn = panel.scatter(
                [place + _aside(row, axis) for place, row in x], [row["values"][objective.name] for _, row in x],
                c=[row["number"] for _, row in x], cmap="Blues", vmin=-0.35 * last - 1, vmax=max(last, 1), s=32,
                edgecolors=INK, linewidths=0.4, zorder=3,
            )  # fmt: skip
            _ticks(panel, axis)
            panel.set_xlabel(axis.key)
        for panel in list(panels.flat)[len(found) :]:
            panel.set_visible(False)
        for panel in panels[:, 0]:
            panel.set_ylabel(objective.name)
        bar = figure.colorbar(drawn, ax=panels, label="trial", pad=0.01, aspect=30)
        bar.ax.set_ylim(0, max(last, 1))
        bar.outline.set_visible(False)
    return True


def draw_parallel(results: SweepResults, path: Path) -> bool:
    """A line a trial through its values, coloured by the first objective, the best in front."""
    found, rows = axes(results), _complete(results)
    if len(found) < 2 or len(rows) < 2:
        return False
    objective = results.objectives[0]
    values = np.array([row["values"][objective.name] for row in rows])
    low, high = float(values.min()), float(values.max())
    last = PlotAxis(objective.name)
    size = (max(9.0, 1.6 * (len(found) + 1) + 1.5), 5.2)
    with page(path, "Parallel coordinates", subtitle(results), size) as figure:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        panel = figure.subplots()
        norm = Normalize(low, high if high > low else low + 1)
        columns = [_column(axis, rows, results) for axis in found]
        columns.append(_Column(last, low, high, False))
        good = values if objective.mode == "max" else -values
        leaders = {row["number"] for row in results.best}
        for place in np.argsort(good):
            row, value = rows[place], float(values[place])
            places = [column.at(column.axis.position(row, results)) for column in columns[:-1]]
            places.append(columns[-1].at(value))
            front = row["number"] in leaders
            panel.plot(
                range(len(columns)), places, color=colormaps[_HEAT](norm(value)), linewidth=2.8 if front else 1.3,
                alpha=1.0 if front else 0.7, zorder=4 if front else 3, marker="o", markersize=3,
            )  # fmt: skip
        for place, column in enumerate(columns):
            panel.axvline(place, color=GRID, linewidth=1.2, zorder=1)
            for height, words in column.ticks():
                panel.text(
                    place - 0.03, height, words, ha="right", va="center", size=8, color=INK, zorder=6,
                    bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
                )  # fmt: skip
        panel.set_xticks(range(len(columns)), [column.axis.key for column in columns], rotation=0)
        for label in panel.get_xticklabels():
            label.set_color(INK)
        _wrap(panel, len(columns))
        panel.set_yticks([])
        panel.set_ylim(-0.06, 1.06)
        panel.set_xlim(-0.55, len(columns) - 0.9)
        panel.grid(False)
        for spine in panel.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(
            ScalarMappable(norm, _HEAT), ax=panel, label=objective.name, pad=0.01, aspect=30
        )
        bar.outline.set_visible(False)
    return True


def draw_pareto(results: SweepResults, path: Path) -> bool:
    """Every two objectives against each other, with the front; False for a single objective."""
    rows = _complete(results)
    pairs = list(combinations(results.objectives, 2))
    if not pairs or not rows:
        return False
    from trainer.sweep.report.best import best_row

    knee, front = best_row(results), results.best
    size = (max(7.5, 1.0 + 5.2 * min(3, len(pairs))), 5.4)
    with page(path, "Pareto front", subtitle(results), size) as figure:
        panels = figure.subplots(1, min(3, len(pairs)), squeeze=False)[0]
        for panel, (one, other) in zip(panels, pairs, strict=False):
            panel.scatter(
                *_points(rows, one, other), color=FAINT, s=24, alpha=0.7, label="complete", zorder=2
            )
            line = sorted(front, key=lambda row: row["values"][one.name])
            x, y = _points(line, one, other)
            if len(results.objectives) == 2:
                panel.plot(x, y, color=ACCENT, linewidth=1.4, alpha=0.5, zorder=3)
            panel.scatter(x, y, color=ACCENT, s=42, label="on the front", zorder=4)
            for row in line[:20]:
                panel.annotate(
                    str(row["number"]), (row["values"][one.name], row["values"][other.name]), size=8,
                    xytext=(5, 4), textcoords="offset points", color=INK,
                )  # fmt: skip
            if knee is not None:
                panel.scatter(
                    *_points([knee], one, other), marker="*", s=230, color=ACCENT, edgecolors="white", zorder=5,
                    label="knee (best.yaml)",
                )  # fmt: skip
            panel.set_xlabel(f"{one.name} ({one.mode})")
            panel.set_ylabel(f"{other.name} ({other.mode})")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter(lambda value, _: _short(value))
        panels[0].legend(loc="best", frameon=True, edgecolor=GRID)
    return True


class _Column:
    """One vertical line of the parallel coordinates, from 0 to 1; trials it doesn't apply to go below it."""

    def __init__(self, axis: PlotAxis, low: float, high: float, absent: bool) -> None:
        self.axis, self.absent = axis, absent
        self.low, self.high = axis.scale(low), axis.scale(high)
        self.floor = 0.12 if absent else 0.0

    def at(self, value: float | None) -> float:
        if value is None:
            return 0.0
        extent = self.high - self.low
        share = (self.axis.scale(value) - self.low) / extent if extent else 0.5
        return self.floor + share * (1 - self.floor)

    def ticks(self) -> list[tuple[float, str]]:
        absent = [(0.0, ABSENT)] if self.absent else []
        if self.axis.names:
            return absent + [(self.at(float(place)), name) for place, name in enumerate(self.axis.names)]
        scaled = np.linspace(self.low, self.high, 5)
        values = [10**value if self.axis.log else value for value in scaled]
        return absent + [(self.at(float(value)), _short(float(value))) for value in values]


def _column(axis: PlotAxis, rows: list[Row], results: SweepResults) -> _Column:
    places = [axis.position(row, results) for row in rows]
    there = [place for place in places if place is not None]
    low, high = (0.0, float(len(axis.names) - 1)) if axis.names else (min(there), max(there))
    return _Column(axis, low, high, len(there) < len(places))


def _complete(results: SweepResults) -> list[Row]:
    names = [objective.name for objective in results.objectives]
    return [
        row
        for row in results.rows
        if row["state"] == COMPLETE and all(row["values"].get(name) is not None for name in names)
    ]


def _points(rows: list[Row], one: Objective, other: Objective) -> tuple[list[float], list[float]]:
    return [row["values"][one.name] for row in rows], [row["values"][other.name] for row in rows]


def _pruned(panel: Any, axis: PlotAxis, results: SweepResults) -> None:
    name = results.objectives[0].name
    rows = [row for row in results.rows if row["state"] == PRUNED and name in row["values"]]
    placed = [(axis.position(row, results), row) for row in rows]
    here = [(place, row) for place, row in placed if place is not None]
    panel.scatter(
        [place + _aside(row, axis) for place, row in here], [row["values"][name] for _, row in here],
        facecolors="none", edgecolors=PRUNED_COLOUR, s=26, zorder=2,
    )  # fmt: skip


def _aside(row: Row, axis: PlotAxis) -> float:
    """A little to the side, so that trials of one choice don't lie on each other."""
    return ((row["number"] * 0.618) % 1 - 0.5) * 0.3 if axis.names else 0.0


def _ticks(panel: Any, axis: PlotAxis) -> None:
    if axis.names:
        panel.set_xticks(range(len(axis.names)), axis.names)
        panel.set_xlim(-0.5, len(axis.names) - 0.5)
        if sum(map(len, axis.names)) > 18:
            panel.tick_params(axis="x", rotation=30)
            for label in panel.get_xticklabels():
                label.set_ha("right")
    elif axis.log:
        panel.set_xscale("log")
    else:
        panel.locator_params(axis="x", nbins=4)


def _wrap(panel: Any, columns: int) -> None:
    """Long keys on two lines: ``optimizer.`` above ``weight_decay``."""
    names = [label.get_text() for label in panel.get_xticklabels()]
    panel.set_xticks(
        range(columns), [name.replace(".", ".\n", 1) if len(name) > 10 else name for name in names]
    )


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:.3g}"
