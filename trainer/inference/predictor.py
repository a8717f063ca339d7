"""A loaded model that answers for images, as a stream."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.checkpoints.resolve_checkpoint import Found
from trainer.config_tree.traverse import leaf_dataset, of_type, train_pipelines, type_name
from trainer.core.errors import DatasetError, ResourceError
from trainer.inference.predict_options import Options
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.samples import Sample, split_samples
from trainer.inference.suppress_output import quiet
from trainer.mmconfig.runtime import one_at_a_time
from trainer.predictions.prediction import Prediction


class Predictor(BasePredictor):
    """The model of a checkpoint; made by :func:`trainer.inference.load_model.load_model`.

    Attributes:
        model: the network, an OpenMMLab model in evaluation mode.
        config: the MMEngine config that it was trained with.
    """

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        about: dict[str, Any],
        epoch: int | None,
        found: Found,
    ):
        self.model, self.config, self.about, self.epoch, self.found = model, config, about, epoch, found
        self.task, self.name, self.dataset = (
            str(about["task"]),
            str(about["model"]),
            str(about.get("dataset", "")),
        )
        self.classes = tuple(str(name) for name in about["classes"])
        self.palette = tuple(tuple(int(part) for part in colour) for colour in about.get("palette", ()))
        self.notes: list[str] = list(found.notes)
        self.scope = config.get("default_scope", "mmengine")
        steps = leaf_dataset(config["val_dataloader"])["pipeline"]
        kinds = [type_name(step) for step in steps]
        self.top_down = "GetBBoxCenterScale" in kinds
        self.one_at_a_time = one_at_a_time(config["model"])
        self.mirrors = _mirrors(config)
        # Labels are not there to be loaded; everything else is what validation does.
        steps = [step for step, kind in zip(steps, kinds, strict=True) if kind != "LoadAnnotations"]
        with quiet(), self.in_scope():
            self._load, *self._steps = [_build_step(step) for step in steps]
        self._own = threading.local()

    @property
    def keypoints(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the keypoints (pose)."""
        names = self.model.dataset_meta.get("keypoint_id2name") or {}
        return tuple(str(names[index]) for index in sorted(names))

    @property
    def skeleton(self) -> list[tuple[int, int]]:  # type: ignore[override]
        """Pairs of keypoint indices that are joined by a line."""
        links = self.model.dataset_meta.get("skeleton_links") or []
        return [(int(a), int(b)) for a, b in links]

    @property
    def flip_pairs(self) -> list[tuple[int, int]]:  # type: ignore[override]
        """Pairs of keypoint indices that change places in a mirrored image."""
        indices = self.model.dataset_meta.get("flip_indices") or []
        return [(place, int(other)) for place, other in enumerate(indices) if place < int(other)]

    @property
    def device(self) -> Any:
        return next(self.model.parameters()).device

    def predict_split(self, split: str = "val", batch_size: int = 8) -> Iterator[tuple[Sample, Prediction]]:
        """Each image of a split of the run's own data, with its ground truth, and the answer for it."""
        from trainer.inference.stream import answers

        samples = split_samples(self.config, split, self.task, self.classes)
        for answer in answers(self, samples, Options(batch_size=batch_size)):
            yield answer.sample, answer.prediction

    def network_input(self, samples: Iterable[Sample]) -> Any:
        """What the network itself gets for some images: a float tensor (N, 3, H, W), normalised and padded."""
        packed = [one for sample in samples for one in self._packed(sample)]
        with self.in_scope():
            inputs = self.model.data_preprocessor(_collate(packed), False)["inputs"]
        if isinstance(inputs, (list, tuple)):
            import torch

            inputs = torch.stack(list(inputs))
        return inputs

    def in_scope(self) -> Any:
        """A context in which mmengine's registries look into this model's package first."""
        from mmengine.registry import DefaultScope

        return DefaultScope.overwrite_default_scope(self.scope)

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        facts: dict[str, Any] = {"img_id": 0, "img_path": ""}
        if self.task == "pose":
            facts |= copy.deepcopy(self.model.dataset_meta)
        if not self.top_down:
            return [self._piped(facts, image)]
        score = np.ones(1, np.float32)
        boxes = np.zeros((0, 4), np.float32) if boxes is None else boxes
        return [self._piped({**facts, "bbox": box[None], "bbox_score": score}, image) for box in boxes]

    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        import torch

        from trainer.engine.failures import as_trainer_error

        try:
            with torch.no_grad(), quiet(), self.in_scope():
                outputs = self.model.test_step(_collate(list(prepared)))
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"the GPU's memory is full at {len(prepared)} images a step; a smaller batch_size=, or half=true, "
                "needs less"
            ) from error
        except Exception as error:
            raise as_trainer_error(error) from error
        return [
            to_prediction(self.task, None, self.classes, [output], threshold, probabilities)
            for output in outputs
        ]

    def together(self, prepared: Any) -> Any:
        # mmseg pads in training only; a pose model's crops are of one size.
        return tuple(prepared["inputs"].shape) if self.task == "semantic_segmentation" else None

    def read_file(self, path: Path) -> np.ndarray:
        """As validation reads it: by the pipeline's own back-end and colours."""
        try:
            image = self._load({"img_path": str(path)})["img"]
        except Exception as error:
            raise DatasetError(f"{path} can't be read as an image") from error
        return image if image.dtype == np.uint8 else image.astype(np.uint8)

    def _packed(self, sample: Sample) -> list[Any]:
        """The pipeline's output for a sample: one item, or one a box for a top-down pose model."""
        image = self.read(sample)
        whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
        return self.prepare(image, whole if sample.boxes is None else sample.boxes)

    def _piped(self, facts: dict[str, Any], image: np.ndarray) -> dict[str, Any]:
        """``image`` through the pipeline's steps after reading. No scope is set: threads would share it.

        Each thread has its own steps: some of mmseg's write down what they are about to do.
        """
        kind = np.float32 if getattr(self._load, "to_float32", False) else np.uint8
        shape = image.shape[:2]
        # A copy: steps may draw into it, and a top-down model's boxes share it.
        result: Any = {**facts, "img": image.astype(kind), "img_shape": shape, "ori_shape": shape}
        if not hasattr(self._own, "steps"):
            self._own.steps = copy.deepcopy(self._steps)
        for step in self._own.steps:
            result = step(result)
        return result


def to_prediction(
    task: str,
    path: str | None,
    classes: tuple[str, ...],
    outputs: Sequence[Any],
    threshold: float = 0.0,
    probabilities: bool = False,
) -> Prediction:
    """An image's answer in plain types, from what an OpenMMLab model gives for it: of a top-down pose model one
    data sample a box, of any other a single one.

    Args:
        threshold: instances that score less may be left out.
        probabilities: whether a segmentation comes with what is behind it.
    """
    output = outputs[0]
    height, width = output.ori_shape[:2]
    if task == "pose":
        return _pose(path, (height, width), classes, outputs)
    size = (int(width), int(height))
    if task == "semantic_segmentation":
        indices = _array(output.pred_sem_seg.data).squeeze(0).astype(np.uint8)
        behind = _probabilities(output.seg_logits.data) if probabilities else None
        return Prediction(path, size, classes, segmentation=indices, probabilities=behind)
    found = output.pred_instances
    if threshold > 0:  # before anything is copied: a whole image's masks are large
        found = found[found.scores >= threshold]
    return Prediction(
        path,
        size,
        classes,
        _array(found.bboxes).astype(np.float32).reshape(-1, 4),
        _array(found.scores).astype(np.float32),
        _array(found.labels).astype(np.int64),
        _array(found.masks).astype(bool) if task == "instance_segmentation" else None,
    )


def _probabilities(logits: Any) -> np.ndarray:
    """(C, H, W) of a segmentation's logits; a single channel is a sigmoid's."""
    import torch

    logits = logits.float()
    if logits.shape[0] > 1:
        return _array(logits.softmax(0))
    one = logits.sigmoid()
    return _array(torch.cat([1 - one, one]))


def _pose(path: str | None, shape: Any, classes: tuple[str, ...], outputs: Sequence[Any]) -> Prediction:
    """One answer of several boxes' outputs, or of a bottom-up model's one."""
    found = [output.pred_instances for output in outputs]
    points = [
        np.concatenate([_array(one.keypoints), _array(one.keypoint_scores)[..., None]], -1) for one in found
    ]
    keypoints = np.concatenate(points).astype(np.float32) if points else np.zeros((0, 1, 3), np.float32)
    boxes = [
        _array(one.bboxes).reshape(-1, 4) if "bboxes" in one else _around(_array(one.keypoints))
        for one in found
    ]
    box_scores = [_array(one.bbox_scores).reshape(-1) for one in found if "bbox_scores" in one]
    scores = keypoints[..., 2].mean(-1) if len(keypoints) else np.zeros(0, np.float32)
    if sum(map(len, box_scores)) == len(scores) and len(scores):
        scores = scores * np.concatenate(box_scores)
    return Prediction(
        path,
        (int(shape[1]), int(shape[0])),
        classes,
        np.concatenate(boxes).astype(np.float32) if boxes else np.zeros((0, 4), np.float32),
        scores.astype(np.float32),
        # Pose models don't classify; with one class there is nothing to classify.
        np.full(len(keypoints), 0 if len(classes) == 1 else -1, np.int64),
        keypoints=keypoints,
    )


def _around(keypoints: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) that just hold keypoints (N, K, 2), for bottom-up models without boxes of their own."""
    return np.concatenate([keypoints.min(1), keypoints.max(1)], -1)


def _mirrors(config: dict[str, Any]) -> bool:
    """Whether training mirrors images."""
    flips = (step for steps in train_pipelines(config) for step in of_type(steps, "RandomFlip"))
    return any(step.get("prob", 1) for step in flips)


def _build_step(step: dict[str, Any]) -> Any:
    from mmengine.registry import TRANSFORMS

    return TRANSFORMS.build(copy.deepcopy(step))


def _collate(packed: list[dict[str, Any]]) -> Any:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(packed)


def _array(values: Any) -> np.ndarray:
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() else values)  # numpy has no bfloat16
