"""``data_report.png``: classes, sizes, what was found, and samples with their labels drawn."""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.core.errors import DatasetError
from trainer.data.geometry import segmentation_mask
from trainer.plots.style import ACCENT, BAD, COLOURS, FAINT, GRID, INK, count, extremes, page, shorten
from trainer.predictions.draw import draw_prediction, read_image
from trainer.predictions.prediction import Prediction

PICTURE = "data_report.png"
MOST_CLASSES, MOST_LINES, COLUMNS, CELL = 24, 12, 4, 360
_WIDTH, _ROW, _PAIR, _LINE = 13.0, 0.3, 3.1, 0.2  # inches
_MARKS = {
    "error": ("error", BAD),
    "warning": ("warning", COLOURS[1]),
    "fix": ("fixed", ACCENT),
    "note": ("note", FAINT),
}


def draw_data_report(report: Path, path: Path) -> bool:
    """Draw a ``data_report.json``; False where it holds no image."""
    content = json.loads(report.read_bytes())
    splits = content["splits"]
    if not any(split["images"] for split in splits.values()):
        return False
    shown = _classes(splits)
    samples = [cell for sample in content["samples"] if (cell := _sample(sample, content)) is not None]
    lines = _lines(content["findings"])
    heights = [
        max(1.6, 0.7 + _ROW * len(shown)), _PAIR, 0.45 + _LINE * len(lines), 3.3 * -(-len(samples) // COLUMNS),
    ]  # fmt: skip
    held = " · ".join(f"{name} {count(split['images'])} images" for name, split in splits.items())
    subtitle = f"{content['task'].replace('_', ' ')} · {len(content['classes'])} classes · {held}"
    if not samples:
        heights.pop()
    with page(path, f"Data: {content['data_set']}", subtitle, (_WIDTH, 0.8 + sum(heights))) as figure:
        parts = figure.subfigures(len(heights), 1, height_ratios=heights)
        _draw_classes(parts[0].subplots(), splits, shown)
        left, right = parts[1].subplots(1, 2)
        _draw_image_sizes(left, content["image_sizes"])
        _draw_boxes(right, splits, content["box_edges"])
        _draw_findings(parts[2].subplots(), lines)
        if samples:
            _draw_samples(parts[3], samples)
    return True


def _classes(splits: dict[str, Any]) -> list[str]:
    """The classes to show, the most frequent first: all, or the first and the last of many."""
    train = _numbers(splits["train"])
    best, worst = extremes(list(train), [float(n) for n in train.values()], MOST_CLASSES)
    return [*best, *worst]


def _numbers(split: dict[str, Any]) -> dict[str, float]:
    numbers: dict[str, float] = split.get("pixels") or split.get("classes") or {}
    return numbers


def _draw_classes(axes: Any, splits: dict[str, Any], shown: list[str]) -> None:
    pixels = "pixels" in splits["train"]
    thick = 0.82 / len(splits)
    present = [value for split in splits.values() for value in _numbers(split).values() if value > 0] or [1.0]
    wide = max(present) > 50 * min(present)
    left = min(present) / 3 if wide else 0.0
    for index, (name, split) in enumerate(splits.items()):
        values = [_numbers(split).get(one, 0) for one in shown]
        places = np.arange(len(shown)) + (index - (len(splits) - 1) / 2) * thick
        axes.barh(places, values, thick * 0.9, color=COLOURS[index], label=name)
        for place, value in zip(places, values, strict=True):
            text = (_share(value) if pixels else count(int(value))) if value else "none"
            axes.annotate(
                text, (value or left, place), (4, 0), textcoords="offset points", va="center", size=7.5,
                color=FAINT if value else BAD,
            )  # fmt: skip
    total = len(_numbers(splits["train"]))
    left_out = f", the {len(shown)} most and least frequent of {total}" if len(shown) < total else ""
    axes.set_title(("Share of pixels" if pixels else "Objects") + f" by class and split{left_out}")
    axes.set_yticks(range(len(shown)), [shorten(name, 26) for name in shown])
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.grid(False, axis="y")
    if wide:
        axes.set_xscale("log")
    elif not pixels:
        axes.locator_params(axis="x", integer=True)
    axes.set_xlim(left, max(present) * (2 if wide else 1.1))
    axes.xaxis.set_major_formatter(lambda value, _: _share(value) if pixels else count(round(value)))
    axes.xaxis.set_minor_formatter("")
    axes.legend(loc="lower right")


def _share(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.001 or not value else f"{100 * value:.1g}%"


def _draw_image_sizes(axes: Any, sizes: list[list[int]]) -> None:
    width, height, number = np.array(sizes, float).T
    axes.scatter(
        width,
        height,
        30 + 250 * number / number.max(),
        color=ACCENT,
        alpha=0.55,
        linewidth=0.8,
        edgecolor="white",
    )
    axes.set_title("Image sizes")
    axes.set_xlabel("width in px")
    axes.set_ylabel("height in px")
    largest = max(width.max(), height.max()) * 1.12
    axes.set_xlim(0, largest)
    axes.set_ylim(0, largest)
    axes.axline((0, 0), slope=1, color=GRID, linewidth=1, zorder=0)
    first = sizes[0]
    share = first[2] / number.sum()
    told = f"{first[0]} x {first[1]}: {share:.0%}" + (f" of {len(sizes)} sizes" if len(sizes) > 1 else "")
    axes.annotate(told, first[:2], (8, 8), textcoords="offset points", size=8.5, color=INK)


def _draw_boxes(axes: Any, splits: dict[str, Any], edges: list[float]) -> None:
    drawn = False
    for index, (name, split) in enumerate(splits.items()):
        boxes = np.array(split["boxes"], float)
        if boxes.sum():
            axes.stairs(100 * boxes / boxes.sum(), edges, color=COLOURS[index], label=name, linewidth=1.8)
            drawn = True
    axes.set_title("Sizes of objects")
    if not drawn:
        axes.text(0.5, 0.5, "labels are masks: no boxes", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_axis_off()
        return
    held = [i for split in splits.values() for i, n in enumerate(split["boxes"]) if n]
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # room for the words on top
    axes.set_xscale("log", base=2)
    axes.set_xlim(edges[max(0, min(held) - 1)], edges[min(len(edges) - 1, max(held) + 2)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for limit, name in ((32, "small | medium"), (96, "medium | large")):
        if axes.get_xlim()[0] < limit < axes.get_xlim()[1]:
            axes.axvline(limit, color=FAINT, linewidth=0.8, linestyle=":")
            axes.annotate(
                name, (limit, 1), (0, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="top", size=7.5, color=FAINT, backgroundcolor="white",
            )  # fmt: skip
    axes.set_xlabel("square root of the box's area in px")
    axes.set_ylabel("% of a split's objects")
    axes.legend(loc="upper right")


def _lines(findings: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(level, its colour, text) of each line of the list of findings."""
    lines = []
    for finding in findings:
        examples = f" ({finding['count']}): {', '.join(finding['examples'])}" if finding["count"] else ""
        word, colour = _MARKS[finding["level"]]
        whole = " ".join(f"{finding['text']}{examples}".split())
        for number, part in enumerate(textwrap.wrap(whole, 150)[:2]):
            lines.append((word if not number else "", colour, part))
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], ("", FAINT, "... the rest is in data_report.json")]
    return lines or [("", FAINT, "nothing")]


def _draw_findings(axes: Any, lines: list[tuple[str, str, str]]) -> None:
    axes.set_title("What was found")
    axes.set_axis_off()
    axes.set_ylim(len(lines), 0)
    axes.set_xlim(0, 1)
    for number, (word, colour, text) in enumerate(lines):
        axes.text(0.0, number + 0.5, word, color=colour, weight="bold", size=9, va="center")
        axes.text(
            0.065 if any(w for w, *_ in lines) else 0.0,
            number + 0.5,
            text.replace("$", r"\$"),
            color=INK,
            size=9,
            va="center",
        )


def _draw_samples(part: Any, samples: list[tuple[np.ndarray, str]]) -> None:
    rows = -(-len(samples) // COLUMNS)
    grid = np.atleast_1d(part.subplots(rows, COLUMNS)).ravel()
    for axes in grid:
        axes.set_axis_off()
        axes.set_anchor("N")
    for axes, (picture, title) in zip(grid, samples, strict=False):
        axes.imshow(picture[:, :, ::-1])
        axes.set_title(title, size=8.5, weight="normal", color=FAINT)


def _sample(sample: dict[str, Any], content: dict[str, Any]) -> tuple[np.ndarray, str] | None:
    try:
        image = read_image(sample["file"])
    except DatasetError:
        return None
    size, classes = (sample["width"], sample["height"]), tuple(content["classes"])
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    palette = [tuple(colour) for colour in content["palette"]]
    skeleton = [(a, b) for a, b in content["skeleton"]]
    picture = draw_prediction(image, _truth(sample, classes, size), palette, skeleton)
    factor = CELL / max(picture.shape[:2])
    small = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    if factor < 1:
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    name = Path(sample["name"]).name
    return picture, f"{sample['split']} · {shorten(name, 32)}"


def _truth(sample: dict[str, Any], classes: tuple[str, ...], size: tuple[int, int]) -> Prediction:
    if "map_png" in sample:
        raw = np.frombuffer(base64.b64decode(sample["map_png"]), np.uint8)
        segmentation = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
        return Prediction(sample["file"], size, classes, segmentation=segmentation)
    objects = sample["objects"]
    boxes = np.array([one["bbox"] for one in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masked = bool(objects) and all(one["segmentation"] for one in objects)
    masks = [segmentation_mask(one["segmentation"], size[1], size[0]) for one in objects] if masked else None
    pointed = bool(objects) and all(one["keypoints"] for one in objects)
    points = (
        np.array([one["keypoints"] for one in objects], np.float32).reshape(len(objects), -1, 3)
        if pointed
        else None
    )
    return Prediction(
        sample["file"],
        size,
        classes,
        boxes,
        np.full(len(objects), np.nan, np.float32),
        np.array([one["label"] for one in objects], np.int64),
        np.stack(masks) if masks else None,
        keypoints=points,
    )
