"""Precision over recall, F1 over confidence, the confusion matrix, and bars of classes and keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.plots.style import (
    BAD,
    COLOURS,
    FAINT,
    GOOD,
    GRID,
    HEAT,
    INK,
    PALE,
    count,
    extremes,
    page,
    shorten,
)

Curves = Mapping[str, Any]
MOST_LINES = 8
MOST_ROWS = 20
MOST_BARS = 30
PARTS = {"box": "boxes", "mask": "masks", "keypoints": "instances"}


def draw_precision(part: Curves, kind: str, path: Path, subtitle: str) -> bool:
    """Precision over recall of the classes and, thick, their mean; False where there is no ground truth."""
    if not part.get("classes"):
        return False
    means = {name: float(np.mean(curve)) for name, curve in part["precision"].items()}
    measure = "OKS" if kind == "keypoints" else "IoU"
    overall = float(np.mean(part["precision_overall"]))
    with page(path, f"Precision and recall of {PARTS[kind]} at {measure} {part['iou']}", subtitle) as figure:
        axes = figure.subplots()
        _class_lines(axes, part["steps"], part["precision"], means, "AP")
        axes.plot(
            part["steps"],
            part["precision_overall"],
            color=INK,
            linewidth=3,
            label=f"mean {overall:.3f}",
            zorder=5,
        )
        _unit_axes(axes, "recall", "precision")
        _legend(axes, "AP50", part["classes"])
    return True


def draw_f1(part: Curves, kind: str, path: Path, subtitle: str) -> bool:
    """F1 over the lowest confidence that counts, with the best one marked."""
    if not part.get("classes"):
        return False
    tops = {name: best["f1"] for name, best in part["best"].items()}
    best = part["best_overall"]
    with page(path, f"F1 of {PARTS[kind]} over confidence", subtitle) as figure:
        axes = figure.subplots()
        _class_lines(axes, part["steps"], part["f1"], tops, "F1")
        axes.plot(
            part["steps"],
            part["f1_overall"],
            color=INK,
            linewidth=3,
            label=f"mean {best['f1']:.3f}",
            zorder=5,
        )
        axes.axvline(best["threshold"], color=GOOD, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
        axes.plot([best["threshold"]], [best["f1"]], marker="o", color=GOOD, markersize=8, zorder=6)
        right = best["threshold"] < 0.6
        axes.annotate(
            f"best at {best['threshold']:.2f}: F1 {best['f1']:.3f}\n"
            f"precision {best['precision']:.3f}, recall {best['recall']:.3f}",
            (best["threshold"], 1.0), (8 if right else -8, -4), textcoords="offset points", va="top",
            ha="left" if right else "right", color=GOOD, size=9, zorder=7,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        _unit_axes(axes, "lowest confidence", "F1")
        _legend(axes, "best F1", part["classes"])
    return True


def draw_confusion(table: Curves, path: Path, subtitle: str) -> bool:
    """The confusion matrix: colour is the share of the row's truth, numbers are counts."""
    names, matrix, rest = _shown(table)
    if not matrix.sum():
        return False
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    pixels = table["of"] == "pixels"
    side = min(12.5, max(5.6, 0.46 * len(names) + 2.6))
    title = f"Confusion of {'pixels' if pixels else 'detections'}"
    if not pixels:
        title += f" (score ≥ {table['threshold']}, IoU ≥ {table['iou']})"
    if rest:
        subtitle += (
            f" · the {len(names) - 1 - (not pixels)} classes with most mistakes, {rest} others together"
        )
    with page(path, title, subtitle, (side + 1.1, side)) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap=HEAT, vmin=0, vmax=1)
        axes.grid(False)
        labels = [shorten(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), labels)
        axes.tick_params(length=0, colors=INK)
        axes.set_xlabel("predicted" if pixels else "predicted (last: not found)")
        axes.set_ylabel("true" if pixels else "true (last: nothing is there)")
        for place in np.arange(0.5, len(names) - 1):
            axes.axhline(place, color="white", linewidth=1)
            axes.axvline(place, color="white", linewidth=1)
        size = 9 if len(names) <= 14 else 7
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column,
                row,
                count(int(matrix[row, column])),
                ha="center",
                va="center",
                size=size,
                color=colour,
            )
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("share of the row")
        bar.outline.set_visible(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return True


def draw_per_class(classes: Mapping[str, Mapping[str, float]], path: Path, subtitle: str) -> bool:
    """Each class' own figures as bars, the best first; of many classes the best and the worst."""
    columns = list(dict.fromkeys(name for values in classes.values() for name in values))[:2]
    known = {name: values for name, values in classes.items() if columns and columns[0] in values}
    if not known:
        return False
    best, worst = extremes(list(known), [values[columns[0]] for values in known.values()], MOST_BARS)
    title = f"{columns[0]} of each class"
    if worst:
        title = f"{columns[0]} of the {len(best)} best and the {len(worst)} worst of {len(known)} classes"
    shown = [*best, *([""] if worst else []), *worst]
    height = max(3.5, 0.27 * len(shown) + 1.7)
    mean = float(np.mean([values[columns[0]] for values in known.values()]))
    with page(path, title, subtitle, (8.0, height)) as figure:
        axes = figure.subplots()
        places = np.arange(len(shown))
        for index, column in reversed(list(enumerate(columns))):
            values = [known.get(name, {}).get(column, np.nan) for name in shown]
            axes.barh(
                places, values, height=0.42 if index else 0.72, label=column,
                color=PALE if index else GOOD, zorder=2 if index else 3,
            )  # fmt: skip
        for place, name in enumerate(shown):
            if name:
                end = max(float(known[name].get(column, 0.0)) for column in columns)
                axes.text(
                    end + 0.012, place, f"{known[name][columns[0]]:.3f}", va="center", size=8.5, color=INK, zorder=6,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                )  # fmt: skip
        if worst:
            axes.text(0.01, len(best), f"… {len(known) - len(best) - len(worst)} classes between …", va="center",
                      size=8.5, color=FAINT)  # fmt: skip
        axes.axvline(
            mean, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)), label=f"mean {mean:.3f}", zorder=4
        )
        axes.set_yticks(places, [shorten(name, 24) for name in shown])
        axes.tick_params(axis="y", length=0, colors=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 1.08)
        axes.set_xticks(np.arange(0, 1.01, 0.2))
        axes.set_xlabel("value (0 to 1)")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.52 / (height - 1.5)), ncols=3)
    return True


def draw_keypoints(found: Curves, path: Path, subtitle: str) -> bool:
    """How far each keypoint is off, and how often it is near enough."""
    names = [name for name, labelled in zip(found["names"], found["labelled"], strict=True) if labelled]
    if not names:
        return False
    kept = [index for index, labelled in enumerate(found["labelled"]) if labelled]
    error = [found["error"][index] or 0.0 for index in kept]
    pck = [found["pck"][index] or 0.0 for index in kept]
    height = max(3.0, 0.32 * len(names) + 1.8)
    with page(path, "Keypoints", subtitle, (9.4, height)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(names))
        left.barh(places, error, color=COLOURS[1], height=0.66)
        left.set_xlabel("mean distance / larger side of the box (of those found)")
        left.set_xlim(0, max([*error, 0.01]) * 1.22)
        left.set_title("error")
        right.barh(places, pck, color=GOOD, height=0.66)
        right.set_xlabel(f"share within {found['near']} of the larger side")
        right.set_xlim(0, 1.18)
        right.set_xticks(np.arange(0, 1.01, 0.2))
        right.set_title(f"PCK@{found['near']}")
        for axes, values in ((left, error), (right, pck)):
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0, colors=INK)
            for place, value in enumerate(values):
                axes.text(value + axes.get_xlim()[1] * 0.012, place, f"{value:.3f}", va="center", size=8.5)
        left.set_yticks(places, [shorten(name) for name in names])
        left.set_ylim(len(names) - 0.4, -0.6)
    return True


def _class_lines(
    axes: Any, x: list[float], curves: Mapping[str, list[float]], values: Mapping[str, float], what: str
) -> None:
    """A line a class: coloured and named while they are few, else the best and worst named and the others grey."""
    names = list(curves)
    if len(names) == 1:
        return  # it is the mean
    best, worst = extremes(names, [values[name] for name in names], MOST_LINES if len(names) > 10 else 10)
    named = [*best, *worst]
    for name in names:
        if name not in named:
            axes.plot(x, curves[name], color=GRID, linewidth=1, zorder=1)
    for index, name in enumerate(named):
        style: Any = "-" if index < len(COLOURS) else (0, (5, 2))
        axes.plot(
            x, curves[name], color=COLOURS[index % len(COLOURS)], linewidth=1.3, linestyle=style, alpha=0.9,
            label=f"{shorten(name)} {values[name]:.3f}", zorder=3,
        )  # fmt: skip


def _unit_axes(axes: Any, x: str, y: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(np.arange(0, 1.01, 0.1))
    axes.set_yticks(np.arange(0, 1.01, 0.1))
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _legend(axes: Any, title: str, classes: list[str]) -> None:
    """The mean first, beside the axes."""
    handles, labels = axes.get_legend_handles_labels()
    order = [len(labels) - 1, *range(len(labels) - 1)]
    if len(classes) > 10:
        title += f"\n{MOST_LINES // 2} best, {MOST_LINES // 2} worst\nof {len(classes)} classes"
    axes.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="center left",
        bbox_to_anchor=(1.01, 0.5), title=title, alignment="left", title_fontproperties={"size": 9},
    )  # fmt: skip


def _shown(table: Curves) -> tuple[list[str], np.ndarray, int]:
    """(names, matrix, how many classes were put together) with at most ``MOST_ROWS`` classes, most mistakes first."""
    names, matrix = list(table["names"]), np.array(table["matrix"], np.int64)
    last = [len(names) - 1] if table["of"] == "instances" else []
    classes = len(names) - len(last)
    if classes <= MOST_ROWS:
        return names, matrix, 0
    mistakes = matrix.sum(axis=1) + matrix.sum(axis=0) - 2 * np.diag(matrix)
    kept = np.argsort(-mistakes[:classes], kind="stable")[:MOST_ROWS].tolist()
    others = [index for index in range(classes) if index not in kept]
    groups = [[index] for index in kept] + [others] + [[index] for index in last]
    small = np.array([[matrix[np.ix_(a, b)].sum() for b in groups] for a in groups])
    return [*(names[i] for i in kept), "(others)", *(names[i] for i in last)], small, len(others)
