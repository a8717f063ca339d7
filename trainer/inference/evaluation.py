"""The metrics of a model on a split, as training's own validation computes them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.config_tree.traverse import leaf_dataset
from trainer.engine.metrics.per_class_names import split_per_class
from trainer.inference.evaluation_data import SCOPES, Data, own_data
from trainer.inference.hard_examples import ScoredImage
from trainer.inference.hard_examples_collector import HardExamplesCollector
from trainer.inference.predictor import Predictor
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.suppress_output import suppress_output

Progress = Callable[[int, int], None]
_STAGES = ("data", "model", "metric")


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on a split.

    Attributes:
        metrics: under the field's names.
        per_class: those of each class.
        images: how many images (a top-down pose model: boxes) were looked at.
        curves: those of a training's ``curves/epoch_<n>.json``; empty where the evaluator is the user's own.
        thresholds: ``overall`` and of each class: the confidence with the highest F1, that F1, precision and recall
            there; empty for tasks without confidences.
        speed: images a second, and milliseconds an image of each stage: ``data`` (waiting for the loader), ``model``
            (network and decoding), ``metric``.
        worst: the images with the lowest score, the worst first.
        data: what was evaluated on.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    images: int
    curves: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)
    speed: dict[str, float] = field(default_factory=dict)
    worst: list[ScoredImage] = field(default_factory=list)
    data: Data | None = None


def evaluate(
    predictor: BasePredictor,
    split: str = "val",
    batch_size: int | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    *,
    data: Data | None = None,
    worst: int = 0,
    max_images: int | None = None,
) -> Evaluation:
    """Evaluate with the run's own data, pipeline and evaluator, or on other ``data``.

    A checkpoint and an exported file are measured by the same evaluator on the same images; the exported file prepares
    them itself.

    Args:
        batch_size: images a step; None for the run's own.
        workers: data loader processes.
        progress: told (batches done, of how many).
        data: another data set (:func:`trainer.inference.evaluation_data.other_data`), instead of ``split``.
        worst: how many of the worst images are kept.
        max_images: only the first so many images (top-down pose: boxes).

    Raises:
        TrainerError: the split is not there, or what failed.
    """
    import torch
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    import trainer.engine.registered  # noqa: F401 - our metrics
    from trainer.engine.failures import as_trainer_error
    from trainer.engine.metrics.pr_curves import take_curves

    data = data or own_data(predictor, split)
    asked = _Asked(predictor)
    seconds = dict.fromkeys(_STAGES, 0.0)
    try:
        with (
            suppress_output(),
            DefaultScope.overwrite_default_scope(getattr(predictor, "scope", SCOPES[predictor.task])),
            torch.no_grad(),
        ):
            loader = Runner.build_dataloader(_config(_loader(asked, data, batch_size, workers, max_images)))
            evaluator = Evaluator(_config(data.evaluator))
            evaluator.dataset_meta = loader.dataset.metainfo
            judge = HardExamplesCollector(predictor, evaluator, worst)
            for index, (batch, waited) in enumerate(_timed(loader)):
                start = time.perf_counter()
                outputs = asked.answer(batch)
                between = time.perf_counter()
                evaluator.process(data_samples=outputs, data_batch=batch)
                seconds["data"] += waited
                seconds["model"] += between - start
                seconds["metric"] += time.perf_counter() - between
                judge.look(outputs)
                if progress is not None:
                    progress(index + 1, len(loader))
            start = time.perf_counter()
            values = evaluator.evaluate(len(loader.dataset))
            seconds["metric"] += time.perf_counter() - start
            compute = take_curves(evaluator)
            curves = compute() if compute is not None else {}
            images = judge.images()
    except Exception as error:
        raise as_trainer_error(error) from error
    flat, per_class = split_per_class(values)
    count = len(loader.dataset)
    return Evaluation(
        flat, per_class, count, curves, _thresholds(curves), _speed(seconds, count), images, data
    )


class _Asked:
    """Answers for a batch of the loader in OpenMMLab's own form."""

    def __init__(self, predictor: BasePredictor) -> None:
        self.predictor = predictor
        self.own = isinstance(predictor, Predictor)

    def answer(self, batch: Any) -> Sequence[Any]:
        if isinstance(self.predictor, Predictor):
            return self.predictor.model.val_step(batch)
        samples = batch["data_samples"]
        images = [np.ascontiguousarray(one.numpy().transpose(1, 2, 0)) for one in batch["inputs"]]
        prepared = [
            self.predictor.prepare(image, sample.gt_instances.bboxes if self.predictor.top_down else None)
            for image, sample in zip(images, samples, strict=True)
        ]
        flat = [item for items in prepared for item in items]
        found = self.predictor.answer(flat)
        for sample, prediction in zip(samples, found, strict=True):
            _put(sample, prediction, self.predictor)
        return samples


def _loader(
    asked: _Asked, data: Data, batch_size: int | None, workers: int, max_images: int | None
) -> dict[str, Any]:
    loader: dict[str, Any] = {**data.loader, "num_workers": workers, "persistent_workers": workers > 0}
    if batch_size is not None:
        loader["batch_size"] = 1 if asked.predictor.one_at_a_time else batch_size
    loader["dataset"] = copy.deepcopy(loader["dataset"])
    leaf = leaf_dataset(loader)
    if not asked.own:
        leaf["pipeline"] = _reading_steps(asked.predictor)
    if max_images is not None:
        leaf["indices"] = max_images
    return loader


def _reading_steps(predictor: BasePredictor) -> list[dict[str, Any]]:
    """A pipeline that gives the images as they are, with what the metrics need to know of them."""
    if predictor.task == "semantic_segmentation":
        return [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    if predictor.task == "pose":
        padding = float(getattr(predictor, "metadata", {}).get("input", {}).get("box_padding") or 1.25)
        middle = [{"type": "GetBBoxCenterScale", "padding": padding}] if predictor.top_down else []
        return [{"type": "LoadImage"}, *middle, {"type": "PackPoseInputs"}]
    keys = ("img_id", "img_path", "ori_shape", "img_shape")
    return [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs", "meta_keys": keys}]


def _put(sample: Any, prediction: Any, predictor: BasePredictor) -> None:
    """A prediction in plain types into OpenMMLab's data sample."""
    import torch
    from mmengine.structures import InstanceData, PixelData

    if prediction.segmentation is not None:
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(prediction.segmentation.astype(np.int64))[None])
        return
    if predictor.task == "pose":
        found = InstanceData(
            keypoints=prediction.keypoints[..., :2], keypoint_scores=prediction.keypoints[..., 2]
        )
        if not predictor.top_down:
            found.bboxes, found.bbox_scores = prediction.boxes, prediction.scores
        sample.pred_instances = found
        return
    found = InstanceData(
        bboxes=torch.from_numpy(prediction.boxes),
        scores=torch.from_numpy(prediction.scores),
        labels=torch.from_numpy(prediction.labels),
    )
    if prediction.masks is not None:
        found.masks = torch.from_numpy(prediction.masks)
    sample.pred_instances = found


def _timed(loader: Any) -> Iterator[tuple[Any, float]]:
    """Each batch, and the seconds that were spent waiting for it."""
    batches = iter(loader)
    while True:
        start = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start


def _thresholds(curves: dict[str, Any]) -> dict[str, Any]:
    """The best confidences of the first part: boxes, masks or keypoints."""
    parts: dict[str, dict[str, Any]] = curves.get("parts") or {}
    part = next(iter(parts.values()), {})
    if not part.get("best"):
        return {}
    return {"overall": part["best_overall"], "per_class": part["best"]}


def _speed(seconds: dict[str, float], count: int) -> dict[str, float]:
    total = sum(seconds.values())
    milliseconds = {f"{stage}_ms": round(1000 * seconds[stage] / max(count, 1), 3) for stage in _STAGES}
    return {"images_per_second": round(count / total, 2) if total else 0.0, **milliseconds}


def _config(value: Any) -> Any:
    from mmengine.config import ConfigDict

    return [ConfigDict(one) for one in value] if isinstance(value, list) else ConfigDict(value)
