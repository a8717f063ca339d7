"""All plots of a run, drawn again only where something has changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trainer.plots import metric_curves, training_curves
from trainer.plots.prediction_sheet import draw_sheet
from trainer.plots.run_series import RunSeries

logger = logging.getLogger("trainer")

FOLDER, CURVES, SAMPLES = "plots", "curves", "predictions"


class RunPlots:
    """The plots of one run directory.

    Raises:
        ConfigError: no run directory.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.history = RunSeries.of(run_dir)
        self.dir = self.history.run.dir
        self._drawn: dict[str, Any] = {}

    def draw(self) -> list[Path]:
        """Draw what is new since the last call into ``plots/``; the files that were written."""
        self.history.update()
        history, folder = self.history, self.dir / FOLDER
        written: list[Path] = []

        def once(name: str, state: Any, draw: Callable[[Path], bool]) -> None:
            if self._drawn.get(name) == state:
                return
            path = folder / f"{name}.png"
            try:
                if draw(path):
                    written.append(path)
            except Exception:  # one plot must not cost the others
                logger.exception("%s can't be drawn", path)
            self._drawn[name] = state

        once("losses", len(history.train), lambda path: training_curves.draw_losses(history, path))
        validated = [event["iter"] for event in history.validations]
        once("metrics", validated, lambda path: training_curves.draw_metrics(history, path))
        best = history.best()
        if best is not None:
            per_class = best["per_class"]
            words = self._words(best["epoch"], "best " if history.primary[0] in best["metrics"] else "")
            once("per_class", best["iter"], lambda path: metric_curves.draw_per_class(per_class, path, words))
        file = self._best_curves()
        if file is not None:
            state = (file.name, file.stat().st_mtime_ns)
            if self._drawn.get("curves") != state:
                written += draw_curves(file, folder, self._words)
                self._drawn["curves"] = state
        return written

    def draw_data(self) -> list[Path]:
        """Draw the report on the data, unless that is done."""
        report, picture = self.dir / "data_report.json", self.dir / "data_report.png"
        if not report.exists() or (
            picture.exists() and picture.stat().st_mtime_ns >= report.stat().st_mtime_ns
        ):
            return []
        from trainer.plots.data_report import draw_data_report

        try:
            return [picture] if draw_data_report(report, picture) else []
        except Exception:
            logger.exception("%s can't be drawn", picture)
            return []

    def draw_sheets(self) -> list[Path]:
        """Draw the sample predictions that have no picture yet."""
        written = []
        for samples in sorted((self.dir / SAMPLES).glob("*_*.json")):
            picture = samples.with_suffix(".jpg")
            if picture.exists() and picture.stat().st_mtime_ns >= samples.stat().st_mtime_ns:
                continue
            try:
                if draw_sheet(samples, picture):
                    written.append(picture)
            except Exception:
                logger.exception("%s can't be drawn", picture)
        return written

    def _words(self, epoch: int, which: str = "") -> str:
        return f"{self.history.subject} · {which}epoch {epoch} · {self.history.run.id}"

    def _best_curves(self) -> Path | None:
        """The curves of the best validation, or the newest."""
        best = self.history.best()
        files = sorted((self.dir / CURVES).glob("*_*.json"), key=lambda file: file.stat().st_mtime_ns)
        for name in (f"epoch_{best['epoch']}.json", f"iter_{best['iter']}.json") if best else ():
            for file in files:
                if file.name == name:
                    return file
        return files[-1] if files else None


def draw_curves(
    file: Path,
    folder: Path,
    words: Callable[[int], str],
    prefix: str = "",
    per_class: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Path]:
    """Draw a curves file as ``pr.png``, ``f1.png``, ``confusion.png`` and ``keypoints.png``; what was written.

    Args:
        words: epoch -> the line under each title.
        prefix: of the pictures' names.
        per_class: class -> metric -> value, for ``per_class.png`` too.
    """
    content = json.loads(file.read_bytes())
    below = words(content["epoch"])
    parts = content.get("parts") or {}
    wanted: list[tuple[str, Callable[[Path], bool]]] = []
    for index, (kind, part) in enumerate(parts.items()):
        suffix = f"_{kind}" if index else ""  # masks come first, then their boxes
        wanted.append((f"pr{suffix}", partial(metric_curves.draw_precision, part, kind, subtitle=below)))
        wanted.append((f"f1{suffix}", partial(metric_curves.draw_f1, part, kind, subtitle=below)))
    if content.get("confusion"):
        wanted.append(
            ("confusion", partial(metric_curves.draw_confusion, content["confusion"], subtitle=below))
        )
    if content.get("keypoints"):
        wanted.append(
            ("keypoints", partial(metric_curves.draw_keypoints, content["keypoints"], subtitle=below))
        )
    if per_class:
        wanted.append(("per_class", partial(metric_curves.draw_per_class, per_class, subtitle=below)))
    written = []
    for name, draw in wanted:
        path = folder / f"{prefix}{name}.png"
        try:
            if draw(path):
                written.append(path)
        except Exception:
            logger.exception("%s can't be drawn", path)
    return written
