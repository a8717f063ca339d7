"""How a sweep went: values over trials, learning curves, importances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.plots.style import ACCENT, BAD, COLOURS, FAINT, INK, PALE, page
from trainer.sweep.report.results import Row, SweepResults
from trainer.sweep.stores.in_memory_study import importances
from trainer.sweep.stores.trial_store import COMPLETE, PRUNED

PRUNED_COLOUR = COLOURS[1]
_MOST_BARS = 12


def subtitle(results: SweepResults) -> str:
    counts = [
        f"{number} {state}"
        for state in (COMPLETE, PRUNED, "infeasible", "failed")
        if (number := sum(row["state"] == state for row in results.rows))
    ]
    return f"{results.folder.id} · {results.about.get('sampler')} · {', '.join(counts)}"


def draw_history(results: SweepResults, path: Path) -> bool:
    """The value of each trial and the best so far, a panel an objective; False where there is nothing to draw."""
    complete = [row for row in results.rows if row["state"] == COMPLETE and row["values"]]
    if not complete:
        return False
    count = len(results.objectives)
    with page(path, "Trials", subtitle(results), (9.0, 1.4 + 3.4 * count)) as figure:
        panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        for panel, objective in zip(panels, results.objectives, strict=True):
            x = [row["number"] for row in complete]
            y = np.array([row["values"][objective.name] for row in complete])
            best = (np.maximum if objective.mode == "max" else np.minimum).accumulate(y)
            panel.step(
                [*x, max(row["number"] for row in results.rows)], [*best, best[-1]], where="post", color=PALE,
                linewidth=2.4, label=f"best so far ({objective.mode})", zorder=2,
            )  # fmt: skip
            panel.scatter(x, y, color=ACCENT, s=30, label="complete", zorder=4)
            pruned = [
                row for row in results.rows if row["state"] == PRUNED and objective.name in row["values"]
            ]
            if pruned:
                panel.scatter(
                    [row["number"] for row in pruned], [row["values"][objective.name] for row in pruned],
                    facecolors="none", edgecolors=PRUNED_COLOUR, s=30, label="pruned, last value", zorder=3,
                )  # fmt: skip
            _mark_lost(panel, results)
            leaders = [row for row in results.best if objective.name in row["values"]]
            panel.scatter(
                [row["number"] for row in leaders], [row["values"][objective.name] for row in leaders],
                marker="*", color=ACCENT, s=190, zorder=5, edgecolors="white",
            )  # fmt: skip
            panel.set_ylabel(objective.name)
            panel.margins(x=0.03)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        panels[-1].set_xlabel("trial")
    return True


def draw_curves(results: SweepResults, path: Path) -> bool:
    """What each trial reported, by epoch; the best in front, pruned ones in their colour."""
    told = [row for row in results.rows if len(row["reported"]) > 1]
    if not told or len(results.objectives) > 1:
        return False
    leaders = {row["number"] for row in results.best}
    with page(path, "Learning curves", subtitle(results)) as figure:
        panel = figure.subplots()
        labelled: set[str] = set()
        for row in sorted(told, key=lambda row: row["number"] in leaders):
            kind = f"best (trial {row['number']})" if row["number"] in leaders else _kind(row)
            front = row["number"] in leaders
            epochs = sorted(row["reported"])
            colour = ACCENT if front else {PRUNED: PRUNED_COLOUR, "failed": BAD}.get(row["state"], FAINT)
            values = [row["reported"][epoch] for epoch in epochs]
            panel.plot(
                epochs, values, color=colour, linewidth=2.6 if front else 1.2, alpha=1.0 if front else 0.65,
                label=None if kind in labelled else kind, zorder=4 if front else 3,
            )  # fmt: skip
            if row["state"] == PRUNED:
                panel.plot(epochs[-1:], values[-1:], "x", color=colour, markersize=6)
            labelled.add(kind)
        panel.set_xlabel("epoch")
        panel.set_ylabel(results.objectives[0].name)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return True


def draw_importance(results: SweepResults, path: Path) -> bool:
    """How much of the differences each parameter that all trials have explains; needs Optuna."""
    shares = importances(results)
    if not shares or max(map(len, shares.values())) < 2:
        return False
    keys = list(dict.fromkeys(key for found in shares.values() for key in found))[:_MOST_BARS]
    height = 1.5 + (0.26 * len(shares) + 0.16) * len(keys)
    with page(path, "What mattered", subtitle(results), (9.0, max(2.8, height))) as figure:
        panel = figure.subplots()
        thick = 0.8 / len(shares)
        for place, (name, found) in enumerate(shares.items()):
            y = np.arange(len(keys)) + (place - (len(shares) - 1) / 2) * thick
            widths = [found.get(key, 0.0) for key in keys]
            panel.barh(
                y, widths, height=thick * 0.9, color=COLOURS[place % len(COLOURS)], label=name, zorder=3
            )
            for position, width in zip(y, widths, strict=True):
                panel.text(width + 0.01, position, f"{width:.0%}", va="center", size=9, color=INK)
        panel.set_yticks(range(len(keys)), keys)
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
        panel.set_xlim(0, max(max(found.values()) for found in shares.values()) * 1.12)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        panel.set_xlabel("share of the differences between trials (fANOVA)")
        if len(shares) > 1:
            panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        else:
            panel.set_title(f"for {next(iter(shares))}")
    return True


def _mark_lost(panel: Any, results: SweepResults) -> None:
    """Trials without a value, as ticks at the lower edge."""
    for state, colour in (("failed", BAD), ("infeasible", COLOURS[4])):
        numbers = [row["number"] for row in results.rows if row["state"] == state]
        if numbers:
            panel.plot(
                numbers, [0.02] * len(numbers), "x", color=colour, markersize=6, label=state,
                transform=panel.get_xaxis_transform(), clip_on=False, zorder=5,
            )  # fmt: skip


def _kind(row: Row) -> str:
    return str(row["state"])
