"""Curves of the best and of the newest validation: ``curves/epoch_<n>.json`` in the run directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from mmengine.hooks import Hook

from trainer.core.atomic_files import atomic_write
from trainer.engine.background_queue import BackgroundQueue
from trainer.engine.metrics import take_curves
from trainer.engine.validation_point import validation_point
from trainer.runs.events.log import EventLog

VERSION = 1


class CurvesHook(Hook):
    """Takes the curves from the evaluator; they are computed and written beside the training.

    Args:
        folder: where the files go.
        aside: who computes.
        log: told of each file, an ``artifact`` of kind ``curves``.
        about: what each file says besides: task, classes.
        metric, mode: the primary metric, which chooses the best.
        drawn: called when a file is there.
    """

    priority = "LOW"  # after the validation's event

    def __init__(
        self,
        folder: Path,
        aside: BackgroundQueue,
        log: EventLog,
        about: dict[str, Any],
        metric: str,
        mode: str,
        drawn: Callable[[], object],
    ) -> None:
        self.folder, self.aside, self.log, self.about = folder, aside, log, about
        self.metric, self.mode, self.drawn = metric, mode, drawn

    def before_train(self, runner: Any) -> None:
        """Forget what a resumed run goes back behind: it may not be the best again."""
        for file, content in self._written():
            if int(content["iter"]) > runner.iter:
                file.unlink(missing_ok=True)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        at, value = validation_point(runner), (metrics or {}).get(self.metric)
        compute = take_curves(runner.val_evaluator)

        def job() -> None:
            if compute is not None:
                content = {"epoch": at.epoch, "iter": at.iter, "metric": self.metric, "value": value}
                path = self.folder / f"{at.name}.json"
                write_curves(path, {**self.about, **content, **compute()})
                self.log.emit("artifact", path=f"{self.folder.name}/{path.name}", kind="curves")
                self._remove_others(path)
            self.drawn()

        self.aside.submit(job)

    def _remove_others(self, newest: Path) -> None:
        """Keep the newest file and the best: of a long run on many classes all would be gigabytes."""
        sign = 1 if self.mode == "max" else -1
        scored = [
            (float("-inf") if content["value"] is None else sign * content["value"], -content["iter"], file)
            for file, content in self._written()
        ]
        best = max(scored)[2] if scored else newest
        for _, _, file in scored:
            if file not in (newest, best):
                file.unlink(missing_ok=True)

    def _written(self) -> list[tuple[Path, dict[str, Any]]]:
        found = []
        for file in self.folder.glob("*_*.json"):
            try:
                content = json.loads(file.read_bytes())
                found.append((file, {"iter": int(content["iter"]), "value": content["value"]}))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found


def write_curves(path: Path, content: dict[str, Any]) -> Path:
    """Write a curves file; not finite numbers become null."""
    return atomic_write(
        path, orjson.dumps({"version": VERSION, **content}, option=orjson.OPT_SERIALIZE_NUMPY)
    )
