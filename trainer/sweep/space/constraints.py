"""Constraints: ``parameters <= 10e6``, ``dataset.image_size * runtime.batch_size <= 4096``. Read, never evaluated
as Python."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainer.core.errors import ConfigError
from trainer.sweep.objectives import canonical

# A node of an expression: a number, a name, or an operation on two of them.
Node = float | str | tuple[str, Any, Any]


@dataclass(frozen=True)
class Constraint:
    """A comparison of two expressions over figures of a trial: searched keys, metrics, ``parameters``."""

    text: str
    sign: str
    left: Node
    right: Node

    @property
    def names(self) -> frozenset[str]:
        """What must be known before it can be decided."""
        return frozenset((*_names(self.left), *_names(self.right)))

    def bound(self, values: Mapping[str, float]) -> Constraint:
        """With some names replaced by their values."""
        return replace(self, left=_bound(self.left, values), right=_bound(self.right, values))

    def violation(self, figures: Mapping[str, Any]) -> float | None:
        """How far it is from being fulfilled: 0 or less is fulfilled, as Optuna has it; None where a figure is
        missing, or no number, or the expression has no value there (a division by zero)."""
        left, right = _value(self.left, figures), _value(self.right, figures)
        if left is None or right is None:
            return None
        distance = {"<": left - right, "<=": left - right, ">": right - left, ">=": right - left}.get(
            self.sign, abs(left - right)
        )
        if math.isnan(distance):
            return None
        return math.ulp(0.0) if self.sign in ("<", ">") and distance == 0 else distance


def read_constraint(text: str) -> Constraint:
    """The constraint in a text: two sums of products of names and numbers, and a comparison between them.

    Names are keys and metrics as they are written elsewhere; a minus sign needs blanks around it, since
    ``mAP50-95`` is a name. Raises :class:`ConfigError`.
    """
    tokens = list(_tokens(text))
    signs = [place for place, token in enumerate(tokens) if token in _COMPARISONS]
    if len(signs) != 1:
        raise ConfigError(f"{text!r}: expected one comparison ({', '.join(_COMPARISONS)}), got {len(signs)}.")
    left, right = tokens[: signs[0]], tokens[signs[0] + 1 :]
    return Constraint(text, tokens[signs[0]], _Reader(text, left).whole(), _Reader(text, right).whole())


class _Reader:
    """Recursive descent: sums of products of powers of atoms."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self.text, self.tokens, self.place = text, tokens, 0

    def whole(self) -> Node:
        node = self._sum()
        if self.place < len(self.tokens):
            raise ConfigError(f"{self.text!r}: {self.tokens[self.place]!r} is unexpected.")
        return node

    def _sum(self) -> Node:
        node = self._product()
        while self._next() in ("+", "-"):
            node = (self._take(), node, self._product())
        return node

    def _product(self) -> Node:
        node = self._signed()
        while self._next() in ("*", "/"):
            node = (self._take(), node, self._signed())
        return node

    def _signed(self) -> Node:
        if self._next() == "-":
            self._take()
            return ("-", 0.0, self._signed())
        return self._power()

    def _power(self) -> Node:
        node = self._atom()
        if self._next() == "**":
            return (self._take(), node, self._signed())
        return node

    def _atom(self) -> Node:
        token = self._take()
        if token == "(":
            node = self._sum()
            if self._take() != ")":
                raise ConfigError(f"{self.text!r}: a bracket is not closed.")
            return node
        if _NUMBER.fullmatch(token):
            return float(token)
        if _NAME.fullmatch(token):
            return canonical(token)
        raise ConfigError(f"{self.text!r}: expected a name or a number{f', got {token!r}' if token else ''}.")

    def _next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self.place += 1
        return token


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = _TOKEN.match(text, place)
        if not found:
            raise ConfigError(f"{text!r}: can't read {text[place:]!r}.")
        yield found[0]
        place = found.end()


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, tuple):
        yield from _names(node[1])
        yield from _names(node[2])


def _bound(node: Node, values: Mapping[str, float]) -> Node:
    if isinstance(node, str):
        return values.get(node, node)
    return (node[0], _bound(node[1], values), _bound(node[2], values)) if isinstance(node, tuple) else node


def _value(node: Node, figures: Mapping[str, Any]) -> float | None:
    if isinstance(node, float):
        return node
    if isinstance(node, str):
        value = figures.get(node)
        return float(value) if isinstance(value, (int, float)) else None
    left, right = _value(node[1], figures), _value(node[2], figures)
    if left is None or right is None:
        return None
    try:
        result = _OPERATIONS[node[0]](left, right)
    except (ArithmeticError, ValueError):
        return None
    return result if isinstance(result, float) else None  # a root of a negative number is complex


_COMPARISONS = ("<=", ">=", "==", "<", ">")
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NAME = re.compile(r"[A-Za-z_][\w.]*(-[\w.]+)*")
_TOKEN = re.compile(rf"{_NUMBER.pattern}|{_NAME.pattern}|\*\*|<=|>=|==|[-+*/()<>]")
_OPERATIONS: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
