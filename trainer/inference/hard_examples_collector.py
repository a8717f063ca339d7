"""Looks at an evaluation's answers as they come and keeps the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainer.inference.hard_examples import CONFIDENT, HardExamples, ScoredImage
from trainer.inference.predictor_base import BasePredictor
from trainer.predictions.from_model_output import to_prediction
from trainer.predictions.ground_truth import coco_truth
from trainer.predictions.prediction import Prediction, joined


class HardExamplesCollector:
    """Judges each image of an evaluation.

    Args:
        evaluator: mmengine's, whose metric has read the annotations.
        count: how many images are kept.
    """

    def __init__(self, predictor: BasePredictor, evaluator: Any, count: int) -> None:
        self.task, self.classes = predictor.task, predictor.classes
        self._coco = next((metric for metric in evaluator.metrics if hasattr(metric, "ann_file")), None)
        sigmas = (evaluator.dataset_meta or {}).get("sigmas") if self.task == "pose" else None
        self._worst = HardExamples(self.task, count, None if sigmas is None else np.asarray(sigmas, float))
        self._count = count
        # A top-down model's boxes of one image come one after another.
        self._current: tuple[Any, str, list[Prediction]] | None = None

    def look(self, outputs: Sequence[Any]) -> None:
        """Answers of a batch, as OpenMMLab's data samples."""
        if not self._count:
            return
        for output in outputs:
            # A model of the user's own may answer in a form of its own.
            path = getattr(output, "img_path", None)
            if path is None:
                continue
            answer = self._answer(output, str(path))
            key = getattr(output, "img_id", path)
            if self.task == "semantic_segmentation":
                if "gt_sem_seg" in output:
                    truth = output.gt_sem_seg.data.squeeze().cpu().numpy().astype(np.uint8)
                    self._worst.look(str(path), answer, replace(answer, segmentation=truth))
                continue
            if self._current is not None and self._current[0] == key:
                self._current[2].append(answer)
                continue
            self._close()
            self._current = (key, str(path), [answer])

    def images(self) -> list[ScoredImage]:
        """The worst images, the worst first."""
        self._close()
        worst = self._worst.images()
        if self.task != "instance_segmentation" or self._coco is None:
            return worst
        # Masks of what is true are only decoded for those that are drawn.
        return [replace(one, truth=self._truth(one.key, one.path, self.task)) for one in worst]

    def _answer(self, output: Any, path: str) -> Prediction:
        threshold = CONFIDENT if self.task in ("detection", "instance_segmentation") else 0.0
        return to_prediction(self.task, path, self.classes, [output], threshold)

    def _close(self) -> None:
        """The image whose answers are all there."""
        if self._current is None or self._coco is None:
            self._current = None
            return
        (key, path, answers), self._current = self._current, None
        if key not in self._coco.coco.imgs:
            return
        truth = self._truth(key, path, "pose" if self.task == "pose" else "detection")
        areas = [float(one["area"]) for one in self._annotations(key)]
        self._worst.look(path, joined(answers), truth, areas, key)

    def _truth(self, key: Any, path: str, task: str) -> Prediction:
        assert self._coco is not None
        coco = self._coco.coco
        truth = coco_truth(path, coco.imgs[key], self._annotations(key), coco.cats, task, self.classes)
        if self.task == "pose" and len(self.classes) == 1:  # the metric knows no classes
            return replace(truth, labels=np.zeros(len(truth), np.int64))
        return truth

    def _annotations(self, key: Any) -> list[dict[str, Any]]:
        assert self._coco is not None
        annotations = [one for one in self._coco.coco.imgToAnns[key] if not one.get("iscrowd")]
        return [one for one in annotations if self.task != "pose" or one.get("num_keypoints")]
