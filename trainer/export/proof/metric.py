"""The task's metrics on the validation split, for the checkpoint and for an exported file's answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from trainer.engine.metrics.per_class_names import split_per_class
from trainer.export.proof.images import spread
from trainer.export.proof.run_exported import ImageRegion
from trainer.export.runtimes.python.model_wrapper import Result
from trainer.inference.predictor import Predictor
from trainer.inference.samples import split_loader
from trainer.inference.suppress_output import suppress_output


class ValidationMetrics:
    """The validation split, or ``most`` of its items spread over it, with its evaluator.

    Attributes:
        primary: the name of the metric that chose the best checkpoint.

    Raises:
        DatasetError: the run's data is no longer there.
    """

    def __init__(self, predictor: Predictor, most: int) -> None:
        from mmengine.config import ConfigDict
        from mmengine.registry import DATASETS

        self.predictor = predictor
        loader = copy.deepcopy(split_loader(predictor.config, "val"))
        with suppress_output(), predictor.in_scope():
            self._dataset: Any = DATASETS.build(ConfigDict(loader["dataset"]))
            self._dataset.full_init()
        self._items = [int(item) for item in spread(range(len(self._dataset)), most)]
        hooks = predictor.config.get("default_hooks") or {}
        self.primary = str((hooks.get("checkpoint") or {}).get("save_best") or "")

    def __len__(self) -> int:
        return len(self._items)

    @property
    def whole(self) -> bool:
        """Whether every item of the split is used."""
        return len(self._items) == len(self._dataset)

    def images(self) -> list[ImageRegion]:
        """The images (top-down pose: their boxes) in order."""
        images = []
        for item in self._items:
            info = self._dataset.get_data_info(item)
            box = np.asarray(info["bbox"]).reshape(-1)[:4] if self.predictor.top_down else None
            region = None if box is None else tuple(map(float, box))
            images.append(ImageRegion(Path(info["img_path"]), region))
        return images

    def of_the_checkpoint(self, batch_size: int = 8) -> dict[str, float]:
        """Metrics by name, of the model's own validation step without the flip test, which no graph has."""
        from mmengine.dataset import pseudo_collate

        predictor, model = self.predictor, self.predictor.model
        size = 1 if predictor.one_at_a_time else batch_size

        def samples() -> Iterator[list[Any]]:
            for batch in batches((self._dataset[item] for item in self._items), size, predictor.together):
                yield model.val_step(pseudo_collate(batch))

        with without_flip(model):
            return self._evaluated(samples())

    def of_answers(self, answers: Iterable[Result]) -> dict[str, float]:
        """Metrics by name, of answers for :meth:`images`, in the same order."""

        def samples() -> Iterator[list[Any]]:
            for item, answer in zip(self._items, answers, strict=True):
                sample = self._dataset[item]["data_samples"]
                _set(sample, answer, self.predictor.task, self.predictor.top_down)
                yield [sample]

        return self._evaluated(samples())

    def _evaluated(self, batches: Iterator[list[Any]]) -> dict[str, float]:
        import torch
        from mmengine.config import ConfigDict
        from mmengine.evaluator import Evaluator

        config = copy.deepcopy(self.predictor.config["val_evaluator"])
        metrics = [ConfigDict(item) for item in config] if isinstance(config, list) else ConfigDict(config)
        with suppress_output(), self.predictor.in_scope(), torch.no_grad():
            evaluator = Evaluator(metrics)
            evaluator.dataset_meta = self._dataset.metainfo
            for batch in batches:
                evaluator.process(data_samples=batch)
            values, _ = split_per_class(evaluator.evaluate(len(self._items)))
        return {name: float(value) for name, value in values.items()}


def batches(items: Iterable[Any], size: int, together: Callable[[Any], Any]) -> Iterator[list[Any]]:
    """``items`` in order, up to ``size`` at a time; ``together`` is the same for all items of a batch."""
    for _, group in groupby(items, together):
        while batch := list(islice(group, size)):
            yield batch


@contextmanager
def without_flip(model: Any) -> Iterator[None]:
    """Within it, a pose model predicts without the flip test of its validation."""
    config: Any = getattr(model, "test_cfg", None)
    flip_test = isinstance(config, dict) and config.get("flip_test")
    if flip_test:
        config["flip_test"] = False
    try:
        yield
    finally:
        if flip_test:
            config["flip_test"] = flip_test


def _set(sample: Any, answer: Result, task: str, top_down: bool) -> None:
    """Put an answer into an OpenMMLab data sample as its prediction."""
    import torch
    from mmengine.structures import InstanceData, PixelData

    if task == "semantic_segmentation":
        assert answer.segmentation is not None
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(answer.segmentation.astype(np.int64))[None])
    elif task == "pose":
        assert answer.keypoints is not None
        instances = InstanceData(
            keypoints=answer.keypoints[..., :2], keypoint_scores=answer.keypoints[..., 2]
        )
        truth = sample.gt_instances
        instances.bboxes = truth.bboxes if top_down else answer.boxes
        instances.bbox_scores = truth.bbox_scores if top_down else _box_scores(answer)
        sample.pred_instances = instances
    else:
        instances = InstanceData(
            bboxes=torch.from_numpy(answer.boxes),
            scores=torch.from_numpy(answer.scores),
            labels=torch.from_numpy(answer.labels),
        )
        if answer.masks is not None:
            instances.masks = torch.from_numpy(answer.masks)
        sample.pred_instances = instances


def _box_scores(answer: Result) -> np.ndarray:
    """Box scores of a one-stage pose model; a file's score is the box score times the mean keypoint score."""
    assert answer.keypoints is not None
    mean = answer.keypoints[..., 2].mean(-1)
    return np.where(mean > 0, answer.scores / np.maximum(mean, 1e-6), 0.0).astype(np.float32)
