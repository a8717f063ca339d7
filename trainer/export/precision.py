"""Half precision: fp16 in the network, float32 at its edges and in the decoding, where coordinates need it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import FrameworkError

_NOT_THE_NETWORK = ("prepare", "priors")


def in_network(node: str) -> bool:
    """Whether an ONNX node is the network's own, by its name: those are called after the module that they are in, the
    ones that normalise, decode and remove duplicates aren't."""
    _, *places = node.split("/")
    return node.startswith("/") and len(places) >= 2 and places[0] not in _NOT_THE_NETWORK


def onnx_to_half(path: Path) -> None:
    """Make the network in an ONNX file fp16, in place; inputs and outputs keep their types.

    Raises:
        FrameworkError: the file can't be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = onnx.load(path)
    outside = [node.name for node in proto.graph.node if not in_network(node.name)]
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of each weight that is too small for fp16
            half = convert_float_to_float16(proto, keep_io_types=True, node_block_list=outside)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise FrameworkError(
            f"half=true: this file can't be made fp16: {type(error).__name__}: {reason}"
        ) from error
    atomic_write(path, half.SerializeToString())


def network_to_half(model: nn.Module) -> int:
    """Make convolutions and linear layers fp16 with float32 around each, in place, before tracing; how many."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    # Attention reads this one's weights itself, beside others that stay float32.
    spared = nn.modules.linear.NonDynamicallyQuantizableLinear
    layers = [one for one in model.modules() if isinstance(one, kinds) and not isinstance(one, spared)]
    for layer in layers:
        layer.half()
        layer.register_forward_pre_hook(_down)
        layer.register_forward_hook(_up)
    return len(layers)


def built_precision(path: Path) -> str:
    """fp32, fp16 or int8: what the weights in an ONNX or TorchScript file are for the most part, by their numbers."""
    counts = _onnx_counts(path) if path.suffix == ".onnx" else _torch_counts(path)
    return max(counts, key=lambda name: counts[name])


def _onnx_counts(path: Path) -> dict[str, int]:
    import onnx

    names = {
        onnx.TensorProto.FLOAT: "fp32",
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.INT8: "int8",
        onnx.TensorProto.UINT8: "int8",
    }
    counts = {"fp32": 0, "fp16": 0, "int8": 0}
    proto = onnx.load(path)
    constants = [
        attribute.t for node in proto.graph.node if node.op_type == "Constant" for attribute in node.attribute
    ]
    for tensor in [*proto.graph.initializer, *constants]:
        if tensor.data_type in names:
            size = 1
            for side in tensor.dims:
                size *= side
            counts[names[tensor.data_type]] += size
    return counts


def _torch_counts(path: Path) -> dict[str, int]:
    counts = {"fp32": 0, "fp16": 0}
    module = torch.jit.load(str(path), map_location="cpu")
    for value in [*module.parameters(), *module.buffers()]:
        name = {torch.float32: "fp32", torch.float16: "fp16"}.get(value.dtype)
        if name:
            counts[name] += value.numel()
    return counts


def _down(_: nn.Module, inputs: Any) -> Any:
    return tuple(value.half() for value in inputs)


def _up(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()
