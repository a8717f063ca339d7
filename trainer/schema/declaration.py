"""A typed leaf: how the classes of this folder say a key's default, limits and meaning."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def typed_field(
    default: Any = None,
    doc: str = "",
    *,
    choices: tuple[str, ...] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    kind: str | None = None,
    only: tuple[str, ...] | None = None,
    tasks: tuple[str, ...] | None = None,
) -> Any:
    """A typed leaf: its default, one line of help, and what :mod:`trainer.config.override_checks` holds it to.

    ``kind`` names a form that Python's types can't say: ``size`` (an integer or ``[width, height]``),
    ``path``, ``pair`` (two numbers), ``range`` (two numbers, smallest first), ``ascending``, ``resume``.
    Limits hold for each number of a list. ``only``: the choices of its group that use this leaf; ``tasks``:
    the tasks that do.
    """
    limits = {"choices": choices, "ge": ge, "gt": gt, "le": le, "kind": kind, "only": only, "tasks": tasks}
    metadata = {"doc": doc, **{name: value for name, value in limits.items() if value is not None}}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
