"""``format=onnx``: a file for onnxruntime, and the source of TensorRT engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.export.export_format import ExportFormat, ExportSettings, load_format
from trainer.export.settings import formats

if TYPE_CHECKING:
    from trainer.export.graph import Graph


class OnnxFormat(ExportFormat):
    """ONNX, run by onnxruntime."""

    name = "onnx"
    suffix = ".onnx"
    packages = ("onnx", "onnxruntime")
    extra = "export"
    requirements = ("onnxruntime>=1.17",)
    precisions = ("fp32", "fp16", "int8")
    has_opset = True
    languages = ("python", "cpp")

    def write(self, graph: Graph, settings: ExportSettings, path: Path) -> str:
        """Write the file, then simplify it and convert it to half precision or int8 as asked.

        Raises:
            ConfigError: the opset lacks an operator of this model.
            DatasetError: int8 without images to calibrate on.
            FrameworkError: the model can't be written as ONNX.
        """
        from trainer.export.int8 import quantize
        from trainer.export.metadata import inside
        from trainer.export.onnx_file import write_onnx
        from trainer.export.onnx_metadata import set_metadata
        from trainer.export.precision import built_precision, onnx_to_half
        from trainer.export.simplify import simplify

        export = settings.export
        settings.log(f"writing ONNX, opset {export.opset}")
        write_onnx(path, graph, opset=export.opset)
        if export.simplify:
            before, after = simplify(path)
            settings.log(f"simplified from {before} to {after} nodes")
        if export.int8:
            symmetric = any(load_format(name).symmetric_int8 for name in formats(export))
            quantize(path, settings.calibration_batches(), graph.input_name, symmetric=symmetric)
        elif export.half:
            onnx_to_half(path)
        precision = built_precision(path)
        set_metadata(path, {**inside(settings.metadata), "precision": precision})
        return precision

    def sees_gpu(self) -> bool:
        """Whether onnxruntime was built for CUDA."""
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
