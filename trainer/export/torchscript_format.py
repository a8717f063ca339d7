"""``format=torchscript``: a file for libtorch and for ``torch.jit.load``."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.export.export_format import ExportFormat, ExportSettings

if TYPE_CHECKING:
    from trainer.export.graph import Graph


class TorchScriptFormat(ExportFormat):
    """TorchScript, run by torch alone."""

    name = "torchscript"
    suffix = ".torchscript"
    read_suffixes = (".pt",)
    packages = ("torch",)
    requirements = ("torch>=2.3",)
    precisions = ("fp32", "fp16")

    def write(self, graph: Graph, settings: ExportSettings, path: Path) -> str:
        """Trace the graph into the file.

        Raises:
            FrameworkError: the model can't be written as TorchScript.
        """
        from trainer.export.metadata import inside
        from trainer.export.precision import built_precision, network_to_half
        from trainer.export.torchscript_file import write_torchscript

        settings.log("writing TorchScript")
        if settings.export.half:
            graph = copy.deepcopy(graph)
            network_to_half(graph.model)
        write_torchscript(path, graph, metadata=inside(settings.metadata))
        return built_precision(path)

    def sees_gpu(self) -> bool:
        """Whether torch sees a GPU."""
        import torch

        return torch.cuda.is_available()
