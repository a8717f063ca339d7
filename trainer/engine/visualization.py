"""What can be looked at while a run trains: curves, sample predictions and the plots that are drawn of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from trainer.data.bundle import DataBundle
from trainer.engine.background_queue import BackgroundQueue
from trainer.plots.draw_client import DrawClient, start_drawing
from trainer.runs.events.log import EventLog
from trainer.runs.run import Run
from trainer.schema import Experiment

logger = logging.getLogger("trainer")

WRITE_SECONDS, DRAW_SECONDS = 5.0, 2.0
FOLDERS = (
    ("plots", "*.png", "plot"),
    ("predictions", "*_*.jpg", "predictions"),
    ("", "data_report.png", "data"),
)


class Visualization:
    """Hands curves and samples from the training thread to a thread, and their drawing to a process.

    Args:
        log: told of each picture when it is there.
    """

    def __init__(self, run: Run, exp: Experiment, bundle: DataBundle, log: EventLog) -> None:
        self.run, self.exp, self.bundle, self.log = run, exp, bundle, log
        self.artist = DrawClient()
        self._aside = BackgroundQueue("pictures")
        self._told: dict[Path, int] = {}
        self._finished = False

    def __enter__(self) -> Visualization:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish(hurry=True)

    def hooks(self) -> list[Any]:
        """The hooks to register on the runner; the drawing process starts here."""
        from trainer.engine.hooks.metric_curves_hook import CurvesHook
        from trainer.engine.hooks.sample_predictions import SamplesHook

        exp, bundle, tracking = self.exp, self.bundle, self.exp.tracking
        if tracking.plots:
            self.artist = start_drawing(self.run.dir)
        about: dict[str, Any] = {"task": exp.task.name, "classes": list(bundle.classes)}
        colours = {
            "palette": [list(colour) for colour in bundle.palette],
            "skeleton": [list(pair) for pair in bundle.keypoints.skeleton] if bundle.keypoints else [],
        }
        self._announced()  # what an earlier attempt has drawn is known
        return [
            SamplesHook(
                self.run.dir / "predictions",
                self._aside,
                {**about, **colours},
                tracking.samples_every,
                lambda: None,
            ),
            CurvesHook(
                self.run.dir / "curves",
                self._aside,
                self.log,
                about,
                exp.task.primary_metric,
                exp.task.mode,
                self._validated,
            ),
            self._warm_up_hook(),
        ]

    def finish(self, hurry: bool = False) -> None:
        """Before the last event: what is being written is waited for, and a little what is being drawn.

        The rest is drawn when the run has ended already; in a ``hurry`` (somebody stopped it) all of it.
        """
        if self._finished:
            return
        self._finished = True
        self._aside.finish(WRITE_SECONDS)
        self.log.flush()
        self.artist.finish(0.0 if hurry else DRAW_SECONDS)
        self._announce()

    def _validated(self) -> None:
        """A validation's files are there."""
        self.log.flush()  # the drawing process reads the log
        self.artist.tell("draw")
        self._announce()

    def _announce(self) -> None:
        """An ``artifact`` event for each picture that is new or was drawn again."""
        for path, kind in self._announced():
            self.log.emit("artifact", path=path.relative_to(self.run.dir).as_posix(), kind=kind)

    def _announced(self) -> list[tuple[Path, str]]:
        new = []
        for folder, pattern, kind in FOLDERS:
            for path in sorted((self.run.dir / folder).glob(pattern)):
                changed = path.stat().st_mtime_ns
                if self._told.get(path) != changed:
                    self._told[path] = changed
                    new.append((path, kind))
        return new

    def _warm_up_hook(self) -> Any:
        from mmengine.hooks import Hook

        artist = self.artist

        class WarmUp(Hook):
            """Has the drawing process import what it needs while the first validation goes on."""

            def before_val_epoch(self, runner: Any) -> None:
                artist.tell("warm")

        return WarmUp()
