"""Losses, learning rate and metrics over a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.plots.run_series import RunSeries
from trainer.plots.style import ACCENT, COLOURS, FAINT, GRID, INK, page
from trainer.runs.events.reader import Event

MOST_POINTS = 1500
MOST_LOSSES = 7
MOST_METRICS = 8


def draw_losses(history: RunSeries, path: Path) -> bool:
    """The losses while training and the learning rate below them; False where there is nothing to draw."""
    events = history.train
    names = _loss_names(events)
    if not names:
        return False
    iterations = np.array([event["iter"] for event in events], float)
    with page(path, "Losses and learning rate", _subtitle(history)) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        lowest = np.inf
        for index, name in enumerate(names):
            values = _series(events, "losses", name)
            x, y = _thinned(iterations, values)
            colour = INK if name == "loss" else COLOURS[(index - 1) % len(COLOURS)]
            smooth = _smoothed(y)
            if len(y) > 40:
                above.plot(x, y, color=colour, alpha=0.16, linewidth=0.8)
            above.plot(
                x, smooth if len(y) > 40 else y, color=colour, label="total" if name == "loss" else name,
                linewidth=2.2 if name == "loss" else 1.5, marker="o" if len(y) < 4 else None, zorder=3,
            )  # fmt: skip
            lowest = min(lowest, np.nanmin(y, initial=np.inf, where=np.isfinite(y)))
        if lowest > 0:
            above.set_yscale("log")
            _plain_ticks(above)
        above.set_ylabel("loss (log scale)" if lowest > 0 else "loss")
        above.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        rates = np.array([_value(event.get("lr")) for event in events])
        x, y = _thinned(iterations, rates)
        below.plot(x, y, color=ACCENT, linewidth=1.6)
        below.set_ylabel("learning rate")
        below.set_ylim(bottom=0)
        below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        below.set_xlabel("iteration")
        below.set_xlim(0, max(iterations[-1], 1))
        _epoch_axis(above, history)
    return True


def draw_metrics(history: RunSeries, path: Path) -> bool:
    """Validation metrics over epochs, the primary one in front with its best value."""
    events = history.validations
    primary, _ = history.primary
    names = _metric_names(events, primary)
    if not names:
        return False
    steps = np.array([history.step(event) for event in events])
    best = history.best()
    assert best is not None
    with page(path, "Validation metrics", _subtitle(history)) as figure:
        axes = figure.subplots()
        for index, name in enumerate(names):
            values = np.array([_value(event["metrics"].get(name)) for event in events])
            front = name == primary
            axes.plot(
                steps, values, label=_with_value(name, best), color=COLOURS[index % len(COLOURS)],
                linewidth=2.6 if front else 1.4, marker="o" if len(steps) < 25 else None,
                markersize=5 if front else 3, alpha=1.0 if front else 0.85, zorder=4 if front else 3,
            )  # fmt: skip
        if _is_number(best["metrics"].get(primary)):
            axes.plot(
                [history.step(best)], [best["metrics"][primary]], marker="*", color=COLOURS[0], markersize=16,
                markeredgecolor="white", zorder=6, clip_on=False,
            )  # fmt: skip
        axes.set_ylim(0, 1.02)
        unit = "epoch" if history.by_epoch else "iteration"
        axes.set_xlabel(unit)
        axes.set_ylabel("value (0 to 1)")
        if len(steps) == 1:
            axes.set_xlim(steps[0] - 1, steps[0] + 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), alignment="left", title_fontproperties={"size": 9},
            title=f"at the best {unit} {history.step(best):.0f} ★",
        )  # fmt: skip
    return True


def _subtitle(history: RunSeries) -> str:
    return f"{history.subject} · {history.run.id}"


def _loss_names(events: list[Event]) -> list[str]:
    """The total first, then the largest components; single terms of deep supervision are left out."""
    sizes: dict[str, list[float]] = {}
    for event in events:
        for name, value in event["losses"].items():
            if _is_number(value):
                sizes.setdefault(name, []).append(abs(value))
    parts = [name for name in sizes if name != "loss" and "loss" in name]
    parts.sort(key=lambda name: -float(np.mean(sizes[name])))
    if len(parts) == 1 and "loss" in sizes:
        parts = []  # it is the total
    return (["loss"] if "loss" in sizes else []) + parts[: MOST_LOSSES - 1]


def _metric_names(events: list[Event], primary: str | None) -> list[str]:
    """The primary metric first, then the others in their own order."""
    found = list(dict.fromkeys(name for event in events for name in event["metrics"]))
    shares = [
        name
        for name in found
        if all(0 <= _value(e["metrics"].get(name), 0.0) <= 1 for e in events) and name != primary
    ]
    # An instance model's headline comes twice, once as its masks'.
    shares = [name for name in shares if not name.startswith("mask_")]
    return [name for name in found if name == primary] + shares[: MOST_METRICS - 1]


def _with_value(name: str, event: Event) -> str:
    value = event["metrics"].get(name)
    return f"{name} {value:.3f}" if _is_number(value) else name


def _series(events: list[Event], key: str, name: str) -> np.ndarray:
    return np.array([_value(event[key].get(name)) for event in events])


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbours, so that no more than ``MOST_POINTS`` are left."""
    size = -(-len(x) // MOST_POINTS)
    if size <= 1:
        return x, y
    whole = len(x) // size * size
    with np.errstate(invalid="ignore"):
        return x[:whole].reshape(-1, size).mean(axis=1), y[:whole].reshape(-1, size).mean(axis=1)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A moving average that starts where the values start; gaps stay gaps."""
    weight = 1 - 1 / max(2.0, len(values) / 40)
    result, mean, mass = np.full(len(values), np.nan), 0.0, 0.0
    for index, value in enumerate(values):
        if np.isfinite(value):
            mean, mass = weight * mean + (1 - weight) * value, weight * mass + (1 - weight)
            result[index] = mean / mass
    return result


def _epoch_axis(axes: Any, history: RunSeries) -> None:
    """Epochs along the top, where the loop counts them."""
    ends = [(event["iter"], event["epoch"]) for event in history.epochs]
    if not history.by_epoch or not ends:
        return
    step = -(-len(ends) // 10)
    shown = [pair for pair in ends if pair[1] % step == 0]
    top = axes.secondary_xaxis("top")
    top.set_xticks([iteration for iteration, _ in shown], [str(epoch) for _, epoch in shown])
    top.set_xlabel("epoch", size=9)
    top.spines["top"].set_visible(False)
    top.tick_params(length=0, colors=FAINT)
    for iteration, _ in shown:
        axes.axvline(iteration, color=GRID, linewidth=0.8, zorder=0)


def _plain_ticks(axes: Any) -> None:
    """1, 0.1 instead of powers of ten, and numbers between them when the axis spans less than two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    narrow = high / low < 150
    if narrow:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _value(value: Any, missing: float = float("nan")) -> float:
    return float(value) if _is_number(value) else missing


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
