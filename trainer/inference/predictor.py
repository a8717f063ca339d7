"""A loaded model that answers for images, as a stream."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trainer.bridge.runtime import one_at_a_time
from trainer.bridge.walk import leaf_dataset, type_name
from trainer.errors import DatasetError
from trainer.inference.locate import Found
from trainer.inference.quiet import quiet
from trainer.inference.results import Prediction
from trainer.inference.samples import Sample, split_samples

Image = str | Path | np.ndarray | Sample
WHOLE_IMAGE = "this pose model looks at boxes: without annotations the whole image is taken as one box"


class Predictor:
    """The model of a checkpoint; made by :func:`trainer.inference.load.load_model`.

    Attributes:
        model: the network, an OpenMMLab model in evaluation mode.
        config: the MMEngine config that it was trained with.
        task, name, dataset: the task, the model's and the data set's name.
        classes, palette: the classes' names and colours (RGB).
        epoch: of the checkpoint.
        found: the checkpoint file and its run.
        notes: what the user should know about the answers so far.
    """

    def __init__(
        self, model: Any, config: dict[str, Any], about: dict[str, Any], epoch: int | None, found: Found
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
        # Labels are not there to be loaded; everything else is what validation does.
        steps = [step for step, kind in zip(steps, kinds, strict=True) if kind != "LoadAnnotations"]
        with quiet(), self.in_scope():
            self._steps = [_build_step(step) for step in steps]

    @property
    def skeleton(self) -> list[tuple[int, int]]:
        """Pairs of keypoint indices that are joined by a line."""
        links = self.model.dataset_meta.get("skeleton_links") or []
        return [(int(a), int(b)) for a, b in links]

    @property
    def device(self) -> Any:
        return next(self.model.parameters()).device

    def predict(
        self, images: Iterable[Image] | Image, batch_size: int = 8, threshold: float = 0.0
    ) -> Iterator[Prediction]:
        """The answers in the order of ``images``; of these no more than a batch is held in memory.

        Args:
            images: files, BGR uint8 arrays (H, W, 3), or :class:`Sample` (with boxes for a top-down pose model).
            batch_size: images (top-down pose: boxes) a forward pass.
            threshold: the lowest score that is kept. A top-down pose model answers for every box all the same.

        Raises:
            DatasetError: an image can't be read.
        """
        if isinstance(images, (str, Path, np.ndarray, Sample)):
            images = [images]
        stream = iter(images)
        while batch := list(itertools.islice(stream, batch_size)):
            samples = [one if isinstance(one, Sample) else Sample(_image(one)) for one in batch]
            for prediction in self._answers(samples, batch_size):
                yield prediction if self.top_down else prediction.above(threshold)

    def predict_split(self, split: str = "val", batch_size: int = 8) -> Iterator[tuple[Sample, Prediction]]:
        """Each image of a split of the run's own data, with its ground truth, and the answer for it."""
        mine, its = itertools.tee(split_samples(self.config, split, self.task, self.classes))
        yield from zip(mine, self.predict(its, batch_size), strict=True)

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

    def _answers(self, samples: list[Sample], batch_size: int) -> Iterator[Prediction]:
        import torch

        packed = [self._packed(sample) for sample in samples]
        flat = [one for many in packed for one in many]
        outputs: list[Any] = []
        batch_size = 1 if self.one_at_a_time else batch_size
        with torch.no_grad(), quiet(), self.in_scope():
            for start in range(0, len(flat), batch_size):
                outputs += self.model.test_step(_collate(flat[start : start + batch_size]))
        answers = iter(outputs)
        for sample, many in zip(samples, packed, strict=True):
            yield self._prediction(sample, [next(answers) for _ in many])

    def _packed(self, sample: Sample) -> list[dict[str, Any]]:
        """The pipeline's output for an image: one item, or one a box for a top-down pose model."""
        facts = self._facts(sample)
        if not self.top_down:
            return [self._piped(facts, sample)]
        boxes = sample.boxes
        if boxes is None:
            if WHOLE_IMAGE not in self.notes:
                self.notes.append(WHOLE_IMAGE)
            boxes = np.array([[0, 0, *_size(sample)]], np.float32)
        score = np.ones(1, np.float32)
        return [self._piped({**facts, "bbox": box[None], "bbox_score": score}, sample) for box in boxes]

    def _facts(self, sample: Sample) -> dict[str, Any]:
        facts: dict[str, Any] = {"img_id": 0}
        if isinstance(sample.image, Path):
            facts["img_path"] = str(sample.image)
        else:
            height, width = sample.image.shape[:2]
            facts |= {
                "img": sample.image,
                "img_path": "",
                "img_shape": (height, width),
                "ori_shape": (height, width),
            }
        return facts | copy.deepcopy(self.model.dataset_meta) if self.task == "pose" else facts

    def _piped(self, facts: dict[str, Any], sample: Sample) -> dict[str, Any]:
        steps = self._steps if isinstance(sample.image, Path) else self._steps[1:]
        if not isinstance(sample.image, Path):
            facts = {**facts, "img": sample.image.copy()}
        result: Any = facts
        with self.in_scope():
            for step in steps:
                try:
                    result = step(result)
                except Exception as error:
                    if step is not self._steps[0]:
                        raise
                    raise DatasetError(f"{facts['img_path']} can't be read as an image") from error
        return result

    def _prediction(self, sample: Sample, outputs: list[Any]) -> Prediction:
        path = str(sample.image) if isinstance(sample.image, Path) else None
        if not outputs:  # a top-down pose model's image without boxes
            return _pose(path, _size(sample)[::-1], self.classes, outputs)
        return to_prediction(self.task, path, self.classes, outputs)


def to_prediction(task: str, path: str | None, classes: tuple[str, ...], outputs: list[Any]) -> Prediction:
    """An image's answer in plain types, from what an OpenMMLab model gives for it: of a top-down pose model one
    data sample a box, of any other a single one."""
    output = outputs[0]
    height, width = output.ori_shape[:2]
    if task == "pose":
        return _pose(path, (height, width), classes, outputs)
    size = (int(width), int(height))
    if task == "semantic_segmentation":
        indices = _array(output.pred_sem_seg.data).squeeze(0).astype(np.uint8)
        return Prediction(path, size, classes, segmentation=indices)
    found = output.pred_instances
    return Prediction(
        path,
        size,
        classes,
        _array(found.bboxes).astype(np.float32).reshape(-1, 4),
        _array(found.scores).astype(np.float32),
        _array(found.labels).astype(np.int64),
        _array(found.masks).astype(bool) if task == "instance_segmentation" else None,
    )


def _pose(path: str | None, shape: Any, classes: tuple[str, ...], outputs: list[Any]) -> Prediction:
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


def _build_step(step: dict[str, Any]) -> Any:
    from mmengine.registry import TRANSFORMS

    return TRANSFORMS.build(copy.deepcopy(step))


def _collate(packed: list[dict[str, Any]]) -> Any:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(packed)


def _image(image: Any) -> Path | np.ndarray:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DatasetError(
                f"an image has to be a uint8 array (H, W, 3) in BGR order, not {image.dtype} {image.shape}"
            )
        return image
    return Path(image)


def _size(sample: Sample) -> tuple[int, int]:
    """(width, height) of an image in px."""
    if isinstance(sample.image, Path):
        from trainer.inference.draw import read_image

        height, width = read_image(sample.image).shape[:2]
    else:
        height, width = sample.image.shape[:2]
    return int(width), int(height)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
