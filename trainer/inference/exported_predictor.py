"""An exported file that answers as its checkpoint does: by the wrapper that travels in its package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.core.errors import CheckpointError, ResourceError
from trainer.inference.predictor_base import BasePredictor
from trainer.predictions.prediction import Prediction

HALF = "half=true is for checkpoints; an exported file has the precision that it was built with"
NMS = "nms_iou is for checkpoints; an exported file has the one that it was built with"
_WRAPPER = Path(__file__).parents[1] / "export" / "runtimes" / "python" / "model_wrapper.py"


class ExportedPredictor(BasePredictor):
    """An ``.onnx``, ``.torchscript`` or ``.engine`` file with its ``metadata.json``.

    Attributes:
        wrapper: the package's own ``Model``, which prepares images, runs the file and maps its answers back.
        metadata: what the file says of itself (:mod:`trainer.export.metadata`).

    Raises:
        CheckpointError: the file is damaged, or doesn't say what it is.
        ResourceError: its runtime isn't installed, or the device isn't there.
    """

    def __init__(
        self,
        found: ResolvedCheckpoint,
        device: str = "auto",
        half: bool = False,
        nms_iou: float | None = None,
    ) -> None:
        self.found = found
        self.wrapper = _open(found.path, device)
        self.metadata: dict[str, Any] = self.wrapper.metadata
        facts = self.metadata
        self.task, self.name, self.dataset = (
            str(facts["task"]),
            str(facts.get("model", "")),
            str(facts.get("dataset", "")),
        )
        self.classes = tuple(str(name) for name in facts["classes"])
        self.palette = tuple(tuple(int(part) for part in colour) for colour in facts.get("palette") or ())
        self.keypoints = tuple(facts.get("keypoints") or ())
        self.skeleton = [(int(a), int(b)) for a, b in facts.get("skeleton") or ()]
        self.flip_pairs = [(int(a), int(b)) for a, b in facts.get("flip_pairs") or ()]
        self.mirrors = bool(facts.get("mirrors", self.task != "pose" or self.flip_pairs))
        self.top_down = facts["input"]["resize"] == "crop"
        self.one_at_a_time = facts["input"]["batch"] == 1
        self.about = {key: facts.get(key) for key in ("run_id", "fingerprint", "precision", "format")}
        self.epoch = facts.get("epoch")
        self.notes = [*found.notes, *([HALF] if half else []), *([NMS] if nms_iou is not None else [])]

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        looks = [None] if not self.top_down else boxes if boxes is not None else []
        return [(*self.wrapper.prepare(image, box), box) for box in looks]

    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        most = self.metadata["input"]["batch"] or len(prepared)
        answers: list[Prediction] = []
        for start in range(0, len(prepared), most):
            some = prepared[start : start + most]
            outputs = self.wrapper.run(np.stack([array for array, _, _ in some]))
            for index, (_, place, box) in enumerate(some):
                row = {name: value[index : index + 1] for name, value in outputs.items()}
                answers.append(self._prediction(self.wrapper.result([place], row, threshold), box))
        return answers

    def together(self, prepared: Any) -> Any:
        return prepared[0].shape

    def _prediction(self, result: Any, box: np.ndarray | None) -> Prediction:
        pose = self.task == "pose"
        # As a checkpoint answers: the box that was looked at, and the only class there is.
        boxes = result.boxes if box is None else np.asarray(box, np.float32).reshape(1, 4)
        labels = result.labels
        if pose:
            labels = np.full(len(result.scores), 0 if len(self.classes) == 1 else -1, np.int64)
        return Prediction(
            None,
            (int(result.size[0]), int(result.size[1])),
            self.classes,
            boxes,
            result.scores,
            labels,
            result.masks,
            result.segmentation,
            result.keypoints,
        )


@cache
def wrapper_module() -> ModuleType:
    """``runtimes/python/model_wrapper.py``, the very file that is in every package."""
    name = "trainer_model_wrapper"
    spec = importlib.util.spec_from_file_location(name, _WRAPPER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _open(path: Path, device: str) -> Any:
    if device not in ("auto", "cpu", "gpu"):
        raise ResourceError(f"device={device}: one of auto, cpu, gpu")
    from trainer.core.cpu_budget import usable_cpus

    where = _device(path, device)
    try:
        return wrapper_module().Model(path, where, usable_cpus() if where == "cpu" else None)
    except ModuleNotFoundError as error:
        raise ResourceError(f"{path.name} needs {error.name}, which isn't installed") from None
    except Exception as error:  # the runtimes' own errors have no common base
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} can't be loaded by its runtime: {reason}") from error


def _device(path: Path, device: str) -> str:
    """``cpu`` or ``cuda``, whatever the file's runtime can use here."""
    if device == "cpu":
        return "cpu"
    there = _gpu(path)
    if device == "gpu" and not there:
        raise ResourceError(
            f"device=gpu, but the runtime of {path.name} sees no GPU; device=cpu or auto would run here"
        )
    return "cuda" if there else "cpu"


def _gpu(path: Path) -> bool:
    if path.suffix == ".onnx":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    import torch

    return torch.cuda.is_available()
