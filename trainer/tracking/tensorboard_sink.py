"""The TensorBoard sink: ``tensorboard/events.out.tfevents.*`` in the run directory, without tensorboard or torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.runs.events.reader import Event
from trainer.runs.events.sink import Cursor, sync
from trainer.runs.run import Run
from trainer.tracking.metric_mapping import Point, points_of
from trainer.tracking.mlflow_state import MlflowProgress, progress_from
from trainer.tracking.tfevents import header, scalars
from trainer.tracking.tracker import Tracker

NAME = "tensorboard"


@dataclass
class TensorboardState(Cursor):
    """``size``: bytes of the file that belong to what was told; more than that is from a kill in between."""

    size: int = 0
    progress: MlflowProgress = field(default_factory=MlflowProgress)

    def __post_init__(self) -> None:
        self.progress = progress_from(self.progress)


class TensorboardSink(Tracker):
    """Every value of the log as a scalar, under the names that MLflow has, at most some thousand of each kind."""

    name = NAME
    cursor_class = TensorboardState
    cursor: TensorboardState

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        created = run.facts.get("created")
        self.created = float(created) if created else 0.0
        # TensorBoard reads the files of a folder in the order of their names, which begin with a time.
        self.path = run.dir / NAME / f"events.out.tfevents.{int(self.created):010d}.{run.id}"

    @property
    def destination(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    @property
    def summary(self) -> str:
        """The command that shows the file."""
        return f"tensorboard --logdir {self.path.parent}"

    def open(self) -> None:
        if self.cursor.size and (not self.path.exists() or self.path.stat().st_size < self.cursor.size):
            self.rewind()  # somebody removed it

    def tell(self, events: Sequence[Event]) -> None:
        progress, points = self.cursor.progress, list[Point]()
        for event in events:
            new, progress = points_of(event, progress)
            points += new
        self._write(scalars(points))
        self.cursor.progress = progress

    def rewind(self) -> None:
        self.cursor.offset, self.cursor.size, self.cursor.progress = 0, 0, MlflowProgress()

    def _write(self, records: bytes) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.touch()
        with self.path.open("r+b") as file:
            file.truncate(self.cursor.size)
            file.seek(self.cursor.size)
            if not self.cursor.size:
                file.write(header(self.created))
            file.write(records)
            file.flush()
            os.fsync(file.fileno())
            self.cursor.size = file.tell()


def sync_tensorboard(run_dir: str | Path) -> TensorboardState:
    """Bring the run's TensorBoard file up to date."""
    return sync(TensorboardSink(Run.open(run_dir)))  # type: ignore[no-any-return]
