"""Predict with an exported file, by the wrapper that is in its package."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.core import plugins
from trainer.core.cpu_budget import usable_cpus
from trainer.core.errors import CheckpointError, ResourceError, TrainerError
from trainer.inference.predictor_base import BasePredictor
from trainer.predictions.prediction import Prediction

HALF = "half=true is for checkpoints; an exported file has the precision that it was built with"
NMS = "nms_iou is for checkpoints; an exported file has the one that it was built with"
_GROUP = "trainer.exporters"
_WRAPPER = Path(__file__).parents[1] / "export" / "runtimes" / "python" / "model_wrapper.py"


class ExportedPredictor(BasePredictor):
    """An exported file (``.onnx``, ``.torchscript``, ``.engine``, or of a plug-in's format) with its ``metadata.json``.

    Attributes:
        wrapper: the package's own ``Model``, which prepares images, runs the file and decodes its outputs.
        metadata: the file's metadata (:mod:`trainer.export.metadata`).

    Raises:
        CheckpointError: the file is damaged, has no metadata, or no format has its suffix.
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
        metadata = self.metadata
        self.task = str(metadata["task"])
        self.name = str(metadata.get("model", ""))
        self.dataset = str(metadata.get("dataset", ""))
        self.classes = tuple(str(name) for name in metadata["classes"])
        self.palette = tuple(tuple(int(part) for part in colour) for colour in metadata.get("palette") or ())
        self.keypoints = tuple(metadata.get("keypoints") or ())
        self.skeleton = [(int(a), int(b)) for a, b in metadata.get("skeleton") or ()]
        self.flip_pairs = [(int(a), int(b)) for a, b in metadata.get("flip_pairs") or ()]
        self.mirrors = bool(metadata.get("mirrors", self.task != "pose" or self.flip_pairs))
        self.top_down = metadata["input"]["resize"] == "crop"
        self.one_at_a_time = metadata["input"]["batch"] == 1
        self.about = {key: metadata.get(key) for key in ("run_id", "fingerprint", "precision", "format")}
        self.epoch = metadata.get("epoch")
        self.notes = [*found.notes, *([HALF] if half else []), *([NMS] if nms_iou is not None else [])]

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        """See :meth:`BasePredictor.prepare`."""
        regions = [None] if not self.top_down else boxes if boxes is not None else []
        return [(*self.wrapper.prepare(image, box), box) for box in regions]

    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        """See :meth:`BasePredictor.answer`."""
        batch_size = self.metadata["input"]["batch"] or len(prepared)
        predictions: list[Prediction] = []
        for start in range(0, len(prepared), batch_size):
            batch = prepared[start : start + batch_size]
            outputs = self.wrapper.run(np.stack([array for array, _, _ in batch]))
            for index, (_, place, box) in enumerate(batch):
                row = {name: value[index : index + 1] for name, value in outputs.items()}
                predictions.append(self._prediction(self.wrapper.result([place], row, threshold), box))
        return predictions

    def together(self, prepared: Any) -> Any:
        """See :meth:`BasePredictor.together`."""
        return prepared[0].shape

    def _prediction(self, result: Any, box: np.ndarray | None) -> Prediction:
        # As a checkpoint does: the given box, and the only class.
        boxes = result.boxes if box is None else np.asarray(box, np.float32).reshape(1, 4)
        labels = result.labels
        if self.task == "pose":
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


def format_of_file(path: Path) -> Any:
    """The export format (``trainer.export.export_format.ExportFormat``) of an exported file.

    It is the one named in the ``metadata.json`` beside the file, else the first one with the file's suffix.

    Raises:
        CheckpointError: no format has this suffix.
        ConfigError: a plug-in can't be imported.
    """
    try:
        metadata = json.loads(path.with_name("metadata.json").read_bytes())
        if metadata["file"] == path.name and metadata["format"] in plugins.names(_GROUP):
            return plugins.load(_GROUP, metadata["format"])()
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no metadata, or of another version: the suffix decides
    suffixes: list[str] = []
    for name in plugins.names(
        _GROUP
    ):  # the built-in formats first: plug-ins are imported only if none of them fits
        export_format = plugins.load(_GROUP, name)()
        if path.suffix in (export_format.suffix, *export_format.read_suffixes):
            return export_format
        suffixes += [export_format.suffix, *export_format.read_suffixes]
    raise CheckpointError(f"{path} is no exported file: expected one of {', '.join(suffixes)}")


@cache
def wrapper_module() -> ModuleType:
    """``runtimes/python/model_wrapper.py``, the file that is in every package."""
    name = "trainer_model_wrapper"
    spec = importlib.util.spec_from_file_location(name, _WRAPPER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def _open(path: Path, device: str) -> Any:
    if device not in ("auto", "cpu", "gpu"):
        raise ResourceError(f"device={device}: one of auto, cpu, gpu")
    export_format = format_of_file(path)
    torch_device = _device(export_format, path, device)
    threads = usable_cpus() if torch_device == "cpu" else None
    try:
        runtime = export_format.open(path, torch_device, threads)
        return wrapper_module().Model(path, torch_device, threads, runtime)
    except ModuleNotFoundError as error:
        raise ResourceError(f"{path.name} needs {error.name}, which isn't installed") from None
    except TrainerError:
        raise
    except Exception as error:  # the runtimes' own errors have no common base
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} can't be loaded by its runtime: {reason}") from error


def _device(export_format: Any, path: Path, device: str) -> str:
    """``cpu`` or ``cuda``, whatever the file's runtime can use here."""
    if device == "cpu":
        return "cpu"
    has_gpu = export_format.sees_gpu()
    if device == "gpu" and not has_gpu:
        raise ResourceError(
            f"device=gpu, but the runtime of {path.name} sees no GPU; device=cpu or auto would run here"
        )
    return "cuda" if has_gpu else "cpu"
