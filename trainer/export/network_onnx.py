"""Writing a network as ONNX."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trainer.errors import FrameworkError
from trainer.export.network import Network
from trainer.inference.quiet import quiet
from trainer.storage import atomic_write

INPUT = "image"


def write_onnx(
    path: Path, network: Network, example: torch.Tensor, opset: int, metadata: dict[str, Any]
) -> tuple[bool, list[str]]:
    """Export ``network`` to ``path``, its batch dynamic where the network allows it.

    Args:
        example: an input (N, 3, H, W) with N of 2 or more; height and width are fixed to its own.
        metadata: goes into the file's own metadata, values as JSON.

    Returns:
        Whether the batch is dynamic, and the names of the outputs.

    Raises:
        FrameworkError: torch can't express this network in ONNX.
    """
    names = network.output_names(example)
    batch = torch.export.Dim("batch", min=1, max=1024)
    refused: Exception | None = None
    for shapes, image in ((({0: batch},), example), (None, example[:1])):
        try:
            program = _export(network, image, opset, names, shapes)
        except Exception as error:
            refused = refused or error
            continue
        proto = program.model_proto
        for key, value in metadata.items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = (
                key,
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            )
        atomic_write(path, proto.SerializeToString())
        return shapes is not None, names
    text = " ".join(str(refused).split())[:300]
    raise FrameworkError(f"this network can't be exported: {type(refused).__name__}: {text}") from refused


def _export(network: Network, image: torch.Tensor, opset: int, names: list[str], shapes: Any) -> Any:
    with quiet(), _silenced("torch.onnx", "torch.export", "onnxscript", "onnx_ir"), torch.no_grad():
        return torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=shapes,
            verbose=False,
        )


@contextlib.contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """The exporter warns of what a user can't change (no torchvision, skipped folding)."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
