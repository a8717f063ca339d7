"""A TensorRT engine, built from our ONNX file by the ``tensorrt`` package.

Networks are strongly typed, as the package from version 11 on has them alone: what is fp16, or 8-bit by Q/DQ pairs, is
so in the ONNX file already, and the engine computes what the file says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import FrameworkError, ResourceError

LARGEST_BATCH = 8
"""Of an engine with an open batch."""

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def missing() -> str | None:
    """What this machine lacks to build an engine, in words; None where nothing is."""
    try:
        import tensorrt  # noqa: F401
    except ImportError as error:
        return f"the package tensorrt can't be imported ({error}); pip install tensorrt"
    import torch

    if not torch.cuda.is_available():
        return "torch sees no GPU, and an engine is built for the very GPU that it is built on"
    return None


def profile(given: Mapping[str, Any]) -> Shapes:
    """The smallest, the usual and the largest input (N, 3, H, W) of an engine; all the same where none is open.

    Args:
        given: the input of metadata.json.
    """
    width, height = given["size"]
    low, high = [height, width], [height, width]
    if given["dynamic_size"]:
        unit = max(1, given["divisor"])
        low = [max(unit, side // 2 // unit * unit) for side in low]
        high = [math.ceil(side / unit) * unit for side in high]
    batch = given["batch"]
    few, most = (batch, batch) if batch else (1, LARGEST_BATCH)
    return (few, 3, *low), (few, 3, height, width), (most, 3, *high)


def build_engine(onnx: Path, path: Path, given: Mapping[str, Any], workspace_gb: float) -> None:
    """Write the engine of ``onnx`` to ``path``.

    Args:
        given: the input of metadata.json.
        workspace_gb: GiB that the builder's tactics may use.

    Raises:
        ResourceError: no tensorrt, or no GPU.
        FrameworkError: TensorRT can't parse the file, or finds no implementation for it.
    """
    if lack := missing():
        raise ResourceError(f"format=tensorrt: {lack}")
    import tensorrt

    errors: list[str] = []
    builder = tensorrt.Builder(_logger(tensorrt, errors))
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, builder.logger)
    if not parser.parse(onnx.read_bytes()):
        said = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise FrameworkError(f"TensorRT can't read {onnx.name}: {said[:400]}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, int(workspace_gb * 2**30))
    shapes = profile(given)
    if given["batch"] is None or given["dynamic_size"]:
        optimization = builder.create_optimization_profile()
        optimization.set_shape(given["name"], *shapes)
        config.add_optimization_profile(optimization)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise FrameworkError(
            f"TensorRT can't build {onnx.name}: {errors[-1][:400] if errors else 'no reason given'}"
        )
    atomic_write(path, bytes(engine))


def _logger(tensorrt: Any, errors: list[str]) -> Any:
    class Logger(tensorrt.ILogger):
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.Logger.ERROR, tensorrt.Logger.INTERNAL_ERROR):
                errors.append(message)

    return Logger()
