"""How all plots look: one set of colours, sizes and words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write

INK, FAINT, GRID, PAPER = "#1f2430", "#6b7280", "#e5e7eb", "#ffffff"
ACCENT = "#2563eb"
# Told apart by people who don't see red and green, too; the first is the accent.
COLOURS = ("#2563eb", "#e69f00", "#059669", "#d55e00", "#8b5cf6", "#0ea5e9", "#be185d", "#6b7280")
GOOD, PALE, BAD = "#2563eb", "#bfdbfe", "#d55e00"
HEAT = "Blues"
DPI = 120

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@contextmanager
def page(path: Path, title: str, subtitle: str, size: tuple[float, float] = (9.0, 5.2)) -> Iterator[Any]:
    """A matplotlib Figure with a heading; written to ``path`` as a PNG when the block ends, whole or not at all.

    Args:
        size: (width, height) in inches of 120 px.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(RC):
        head = 0.62 / size[1]
        layout = ConstrainedLayoutEngine(rect=(0.008, 0.01, 0.984, 0.985 - head))
        figure = Figure(figsize=size, dpi=DPI, layout=layout)
        canvas = FigureCanvasAgg(figure)
        figure.text(0.16 / size[0], 1 - 0.14 / size[1], title, size=14, weight="bold", va="top")
        figure.text(0.16 / size[0], 1 - 0.43 / size[1], subtitle, size=9.5, color=FAINT, va="top")
        yield figure
        atomic_write(path, lambda file: canvas.print_png(file))


def shorten(name: str, length: int = 18) -> str:
    """A class name that fits beside an axis."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def count(number: int) -> str:
    """``950``, ``12.3k``, ``4.1M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            scaled = number / (1e3 if unit == "k" else limit)
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return str(number)


def extremes(names: list[str], values: list[float], most: int) -> tuple[list[str], list[str]]:
    """(best, worst) names by value, at most ``most`` together; all of them are among the best when they fit."""
    order = [name for _, name in sorted(zip(values, names, strict=True), key=lambda pair: -pair[0])]
    if len(order) <= most:
        return order, []
    return order[: most // 2], order[-(most - most // 2) :]
