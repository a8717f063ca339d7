"""A loaded model that answers for images, as a stream."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.config_tree.traverse import leaf_dataset, of_type, train_pipelines, type_name
from trainer.core.errors import DatasetError, ResourceError
from trainer.inference.predict_options import PredictOptions
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.samples import Sample, split_samples
from trainer.inference.suppress_output import suppress_output
from trainer.mmconfig.runtime import one_at_a_time
from trainer.predictions.from_model_output import to_prediction
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
        found: ResolvedCheckpoint,
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
        with suppress_output(), self.in_scope():
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
        for answer in answers(self, samples, PredictOptions(batch_size=batch_size)):
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
            with torch.no_grad(), suppress_output(), self.in_scope():
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
