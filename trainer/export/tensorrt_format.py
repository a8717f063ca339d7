"""``format=tensorrt``: an engine for the GPU that it is built on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.export.export_format import ExportFormat, ExportSettings

if TYPE_CHECKING:
    from trainer.export.graph import Graph


class TensorRTFormat(ExportFormat):
    """A TensorRT engine, built from the ONNX file."""

    name = "tensorrt"
    suffix = ".engine"
    packages = ("tensorrt", "torch")
    requirements = ("tensorrt", "torch>=2.3")
    precisions = ("fp32", "fp16", "int8")
    half_with_int8 = True
    symmetric_int8 = True
    has_opset = True
    built_from = "onnx"
    device = "cuda"

    def missing(self) -> str | None:
        """What this machine lacks to build an engine: the package, or a GPU."""
        from trainer.export.tensorrt_engine import missing

        return missing()

    def write(self, graph: Graph, settings: ExportSettings, path: Path) -> str:
        """Build the engine.

        Raises:
            ResourceError: no tensorrt, or no GPU.
            FrameworkError: TensorRT can't build this model.
        """
        from trainer.export.precision import built_precision
        from trainer.export.tensorrt_engine import build_engine

        assert settings.source is not None
        settings.log("building the TensorRT engine, minutes ...")
        build_engine(settings.source, path, settings.metadata["input"], settings.export.workspace_gb)
        return built_precision(settings.source)  # a strongly typed engine computes what the ONNX file says

    def sees_gpu(self) -> bool:
        """Whether torch, which holds the engine's memory, sees a GPU."""
        import torch

        return torch.cuda.is_available()
