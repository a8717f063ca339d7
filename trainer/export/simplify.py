"""ONNX without what it doesn't need: constants folded, operators without effect taken out."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write

logger = logging.getLogger("trainer")


def simplify(path: Path) -> tuple[int, int]:
    """Simplify the file in place; numbers of nodes before and after.

    A file that the simplifier can't take, or makes larger, stays as it is: simplifying is no need.
    """
    import onnx

    before: Any = onnx.load(path)
    count = len(before.graph.node)
    try:
        after = _slim(before)
        onnx.checker.check_model(after, full_check=True)
    except Exception as error:  # it raises whatever its steps do
        logger.warning(
            "the ONNX file isn't simplified: %s: %s", type(error).__name__, " ".join(str(error).split())
        )
        return count, count
    if not _same_use(before, after) or len(after.graph.node) >= count:
        return count, count
    atomic_write(path, after.SerializeToString())
    return count, len(after.graph.node)


def _slim(proto: Any) -> Any:
    import onnxslim

    # It talks, and changes what it is given.
    copy = type(proto)()
    copy.CopyFrom(proto)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return onnxslim.slim(copy)


def _same_use(before: Any, after: Any) -> bool:
    """Whether names, types, open dimensions and opset are those of before: what a user of the file relies on."""
    opsets = [
        {one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")}
        for proto in (before, after)
    ]
    return opsets[0] == opsets[1] and all(
        [(one.name, one.type.tensor_type.elem_type) for one in mine]
        == [(one.name, one.type.tensor_type.elem_type) for one in its]
        and all(_fits(a, b) for a, b in zip(mine, its, strict=True))
        for mine, its in (
            (before.graph.input, after.graph.input),
            (before.graph.output, after.graph.output),
        )
    )


def _fits(before: Any, after: Any) -> bool:
    """A dimension may get to be known, but not one that was named as open (torch calls unknown ones ``..._dim_1``)."""
    mine, its = before.type.tensor_type.shape.dim, after.type.tensor_type.shape.dim
    return len(mine) == len(its) and all(
        a.dim_param == b.dim_param if a.dim_param in _OPEN else a.dim_param or a.dim_value == b.dim_value
        for a, b in zip(mine, its, strict=True)
    )


_OPEN = ("batch", "height", "width")
