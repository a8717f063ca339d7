"""What the model says on a few validation images, beside what is true: ``predictions/epoch_<n>.json``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from mmengine.hooks import Hook

from trainer.core.atomic_files import atomic_write
from trainer.engine.background_queue import BackgroundQueue
from trainer.engine.validation_point import validation_point
from trainer.predictions.from_model_output import to_prediction
from trainer.predictions.ground_truth import coco_truth
from trainer.predictions.prediction import Prediction

logger = logging.getLogger("trainer")

IMAGES = 8
SHEETS = 10
"""How many sheets a run gets when it isn't told."""
THRESHOLD = 0.3
MOST = 30
"""Most instances of an image."""


class SamplesHook(Hook):
    """Takes the first images' answers out of the validation as it goes; nothing is predicted twice.

    Args:
        folder: where the files go.
        aside: who writes them.
        about: what each file says besides: task, classes, palette, skeleton.
        every: epochs between two sheets; None for about ``SHEETS`` a run, 0 for none.
        drawn: called when a file is there.
    """

    priority = "NORMAL"

    def __init__(
        self,
        folder: Path,
        aside: BackgroundQueue,
        about: dict[str, Any],
        every: int | None,
        drawn: Callable[[], object],
    ) -> None:
        self.folder, self.aside, self.about, self.every, self.drawn = folder, aside, about, every, drawn
        self.task, self.classes = str(about["task"]), tuple(about["classes"])
        self._shown: dict[int | str, list[Prediction]] = {}
        self._truths: dict[int | str, Prediction] = {}
        self._slot = -1
        self._due = False

    def before_val_epoch(self, runner: Any) -> None:
        at = validation_point(runner)
        if self.every is None:
            slot = at.iter * SHEETS // max(1, runner.max_iters)
        else:
            slot = at.epoch // self.every if self.every else self._slot
        self._due = slot != self._slot
        self._slot = slot
        self._shown, self._truths = {}, {}

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        for output in outputs or ():
            # A model of the user's own may answer in a form of its own.
            if not self._due or not hasattr(output, "img_path"):
                return
            try:
                self._take(output)
            except Exception:  # pictures must not cost the training
                logger.exception("no sample predictions: the model's answers can't be read")
                self._due, self._shown = False, {}

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if not self._shown:
            return
        at, shown = validation_point(runner), self._shown
        truths = self._truths or self._annotated(runner.val_evaluator)
        self._shown, self._truths = {}, {}

        def job() -> None:
            images = [
                {
                    "prediction": _best(_together(answers)).to_json(),
                    "truth": truths[key].to_json() if key in truths else None,
                }
                for key, answers in shown.items()
            ]
            content = {**self.about, "epoch": at.epoch, "iter": at.iter, "threshold": THRESHOLD}
            # NaN, the score of what is true, becomes null.
            atomic_write(self.folder / f"{at.name}.json", orjson.dumps({**content, "images": images}))
            self.drawn()

        self.aside.submit(job)

    def _take(self, output: Any) -> None:
        key = getattr(output, "img_id", None)
        key = str(output.img_path) if key is None else int(key)
        if key not in self._shown and len(self._shown) == IMAGES:
            self._due = False  # a top-down model's boxes of one image come one after another
            return
        self._shown.setdefault(key, []).append(self._answer(output))
        if self.task == "semantic_segmentation" and "gt_sem_seg" in output:
            truth = output.gt_sem_seg.data.squeeze().cpu().numpy().astype(np.uint8)
            self._truths[key] = replace(self._shown[key][0], segmentation=truth)

    def _answer(self, output: Any) -> Prediction:
        path = str(output.img_path)
        if self.task in ("detection", "instance_segmentation"):
            found = output.pred_instances
            # Before anything is copied: a whole image's masks are large.
            output = output.new()
            output.pred_instances = found[found.scores >= THRESHOLD][:MOST]
        return to_prediction(self.task, path, self.classes, [output])

    def _annotated(self, evaluator: Any) -> dict[int | str, Prediction]:
        """The ground truth of the shown images, out of the annotations that the metric has read."""
        coco = next((one.coco for one in evaluator.metrics if hasattr(one, "coco")), None)
        if coco is None:
            return {}
        truths: dict[int | str, Prediction] = {}
        for key, answers in self._shown.items():
            if key in coco.imgs:
                path = answers[0].path or ""
                truths[key] = coco_truth(
                    path, coco.imgs[key], coco.imgToAnns[key], coco.cats, self.task, self.classes
                )
        return truths


def _together(answers: Sequence[Prediction]) -> Prediction:
    """One answer for an image, of a top-down model's several."""
    first = answers[0]
    if len(answers) == 1:
        return first
    parts = {
        key: np.concatenate([getattr(one, key) for one in answers])
        for key in ("boxes", "scores", "labels", "keypoints")
    }
    return replace(first, **parts)


def _best(answer: Prediction) -> Prediction:
    if answer.segmentation is not None:
        return answer
    # A pose model's score says how sure its points are, not whether somebody is there.
    kept = answer.above(0.0 if answer.keypoints is not None else THRESHOLD)
    return kept if len(kept) <= MOST else kept.above(float(kept.scores[MOST - 1]))
