"""Writing a graph as TorchScript, for libtorch: it loads by ``torch.jit.load`` where nothing else is installed."""

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
from trainer.core.errors import FrameworkError
from trainer.export.graph.graph import Graph
from trainer.inference.suppress_output import suppress_output

METADATA = "metadata.json"
"""Name of the extra file inside (``_extra_files`` of torch.jit.load)."""


@dataclass(frozen=True)
class WrittenTorchScript:
    """A file as it was written."""

    path: Path
    size_bytes: int


def write_torchscript(
    path: Path,
    graph: Graph,
    example: torch.Tensor | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> WrittenTorchScript:
    """Trace ``graph`` to ``path``. Its forward returns a tuple of tensors in the order of ``output_names``.

    Args:
        example: an input to trace with; None is :meth:`Graph.example`.
        metadata: goes into the file as :data:`METADATA`.

    Raises:
        FrameworkError: torch can't trace this graph, or it needs operators that torch alone doesn't have.
    """
    example = graph.example() if example is None else example
    try:
        with suppress_output(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(graph.eval(), (example,), check_trace=False, strict=False)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise FrameworkError(
            f"this model can't be written as TorchScript: {type(error).__name__}: {text}"
        ) from error
    _check(traced)
    buffer = io.BytesIO()
    extra = {METADATA: json.dumps(metadata or {}, ensure_ascii=False)}
    torch.jit.save(traced, buffer, _extra_files=extra)
    content = buffer.getvalue()
    atomic_write(path, content)
    return WrittenTorchScript(path, len(content))


def _check(traced: Any) -> None:
    """Operators of compiled extensions, and calls back into Python, are not there where the file is loaded."""
    graph = traced.inlined_graph
    foreign = sorted({node.kind() for node in graph.findAllNodes("prim::PythonOp")})
    names = {name for name in _kinds(graph) if name.partition("::")[0] not in ("aten", "prim", "prims")}
    if names or foreign:
        what = ", ".join(sorted({*names, *foreign}))
        raise FrameworkError(f"this model can't be written as TorchScript: torch alone has no {what}")


def _kinds(block: Any) -> set[str]:
    kinds: set[str] = set()
    for node in block.nodes():
        kinds.add(node.kind())
        for inner in node.blocks():
            kinds |= _kinds(inner)
    return kinds
