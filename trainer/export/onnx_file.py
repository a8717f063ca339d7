"""Writing a graph as ONNX.

torch's tracing exporter is used (``dynamo=False``): it writes each opset from 13 to 20 itself, where the newer one
starts at 18 and leaves older ones to a converter that knows few operators, and it takes OpenMMLab's heads as they
are, in seconds. What it doesn't have (NonMaxSuppression, RoiAlign) our operators write themselves.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, FrameworkError
from trainer.export.graph.graph import Graph
from trainer.inference.suppress_output import suppress_output

OPSETS = range(13, 21)


@dataclass(frozen=True)
class WrittenOnnx:
    """A file as it was written.

    Attributes:
        inputs, outputs: name -> shape, with the name of a dimension where it is open.
    """

    path: Path
    opset: int
    dynamic_batch: bool
    dynamic_size: bool
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    size_bytes: int


def write_onnx(
    path: Path,
    graph: Graph,
    example: torch.Tensor | None = None,
    opset: int = 17,
    metadata: Mapping[str, Any] | None = None,
) -> WrittenOnnx:
    """Export ``graph`` to ``path``; its open dimensions are those of its options.

    Args:
        example: an input to trace with; None is :meth:`Graph.example`. Real pictures are not needed.
        opset: 13 to 20.
        metadata: goes into the file's own metadata; values that aren't text as JSON.

    Raises:
        ConfigError: the opset is out of range, or lacks an operator that this graph needs.
        FrameworkError: torch can't express this graph in ONNX, or the checker refuses what it wrote.
    """
    check_opset(graph, opset)
    example = graph.example() if example is None else example
    content = _export(graph, example, opset)
    proto = _checked(content, graph, metadata or {})
    content = proto.SerializeToString()
    atomic_write(path, content)
    return WrittenOnnx(
        path=path,
        opset=opset,
        dynamic_batch=graph.options.batch is None,
        dynamic_size=graph.options.dynamic_size,
        inputs={one.name: _shape(one) for one in proto.graph.input},
        outputs={one.name: _shape(one) for one in proto.graph.output},
        size_bytes=len(content),
    )


def check_opset(graph: Graph, opset: int) -> None:
    """Before any work.

    Raises:
        ConfigError: the opset is out of range, or lacks an operator that this graph needs.
    """
    if opset not in OPSETS:
        raise ConfigError(f"opset={opset}: one of {OPSETS.start} to {OPSETS.stop - 1}; 17 is usual")
    if opset < graph.min_opset:
        raise ConfigError(
            f"opset={opset}: this model needs {graph.min_opset} or later, {graph.min_opset_reason}"
        )


def _export(graph: Graph, example: torch.Tensor, opset: int) -> bytes:
    buffer = io.BytesIO()
    try:
        with suppress_output(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.eval(),
                (example,),
                buffer,
                dynamo=False,
                opset_version=opset,
                input_names=[graph.input_name],
                output_names=list(graph.output_names),
                dynamic_axes=graph.dynamic_axes(),
                do_constant_folding=True,
                verbose=False,
            )
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise FrameworkError(
            f"this model can't be written as ONNX: {type(error).__name__}: {text}"
        ) from error
    return buffer.getvalue()


def _checked(content: bytes, graph: Graph, metadata: Mapping[str, Any]) -> Any:
    import onnx

    proto = onnx.load_model_from_string(content)
    foreign = sorted({node.op_type for node in proto.graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise FrameworkError(f"this model can't be written as ONNX: it has no operator {', '.join(foreign)}")
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = (
            key,
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        )
    proto.producer_name = "openmmlab-trainer"
    for node in proto.graph.node:
        node.name = _name(node.name, graph)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise FrameworkError(f"what torch wrote is no valid ONNX: {text}") from error
    return proto


def _name(name: str, graph: Graph) -> str:
    """A node's name, of one part where it isn't in the network: ``/proposals/TopK`` becomes ``/proposals.TopK``."""
    first, _, rest = name.removeprefix("/").partition("/")
    return f"/{first}.{rest.replace('/', '.')}" if rest and first in graph.not_the_network else name


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(one.dim_param or int(one.dim_value) for one in value.type.tensor_type.shape.dim)
