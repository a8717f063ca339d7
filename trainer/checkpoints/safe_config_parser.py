"""Reading the config text of a checkpoint without running it.

The text is Python, and a checkpoint may come from anybody. What ``trainer.engine.config_text`` writes needs no more
than literals, ``dict(key=value)`` and ``float("inf")``; anything else is refused.
"""

from __future__ import annotations

import ast
from typing import Any

from trainer.core.errors import CheckpointError

_TYPES = {kind.__name__: kind for kind in (bool, bytes, complex, dict, float, int, list, str, tuple)}
_FLOATS = ("inf", "-inf", "nan")


def parse_config(text: str) -> dict[str, Any]:
    """The assignments in ``text`` as a dictionary; tuples stay tuples.

    Raises:
        CheckpointError: it holds anything but assignments of plain values. Nothing of it was executed.
    """
    try:
        statements = ast.parse(text).body
        return {_target(statement): _value(statement.value) for statement in map(_assignment, statements)}
    except _Refused as refused:
        line = getattr(refused.node, "lineno", "?")
        shown = " ".join(ast.unparse(refused.node).split())
        raise CheckpointError(
            f"the checkpoint's config is not plain data: line {line} is {shown[:80]!r}; it was not executed"
        ) from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(
            f"the checkpoint's config can't be read: {str(error) or type(error).__name__}"
        ) from None


class _Refused(Exception):
    def __init__(self, node: ast.AST) -> None:
        super().__init__()
        self.node = node


def _assignment(statement: ast.stmt) -> ast.Assign:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return statement
    raise _Refused(statement)


def _target(statement: ast.Assign) -> str:
    target = statement.targets[0]
    if isinstance(target, ast.Name):
        return target.id
    raise _Refused(statement)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and node.value is not Ellipsis:
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_key(key, node): _value(value) for key, value in pairs}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return _signed(node)
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.Name) and node.id in _TYPES:
        return _TYPES[node.id]
    raise _Refused(node)


def _key(key: ast.expr | None, node: ast.Dict) -> Any:
    if isinstance(key, ast.UnaryOp):
        return _signed(key)
    if isinstance(key, (ast.Constant, ast.Tuple)):
        return _value(key)
    raise _Refused(node)


def _signed(node: ast.UnaryOp) -> Any:
    value = node.operand.value if isinstance(node.operand, ast.Constant) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return -value if isinstance(node.op, ast.USub) else value
    raise _Refused(node)


def _call(node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if name == "dict" and not node.args and all(word.arg is not None for word in node.keywords):
        return {str(word.arg): _value(word.value) for word in node.keywords}
    if name == "float" and len(node.args) == 1 and not node.keywords:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and argument.value in _FLOATS:
            return float(argument.value)
    raise _Refused(node)
