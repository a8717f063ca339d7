"""An MMEngine config as text, with a mark on everything that differs from its base."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from trainer.config_tree.traverse import Cfg, type_name

WIDTH = 100
_MISSING: Any = object()


@dataclass(frozen=True)
class Line:
    """One line of text; ``mark`` says how it stands to the base, ``was`` what the base had there."""

    text: str
    mark: Literal["same", "changed", "new", "removed"] = "same"
    was: str = ""

    def __str__(self) -> str:
        note = {"same": "", "changed": f"  # was {self.was}", "new": "  # new", "removed": "  # removed"}[
            self.mark
        ]
        return f"{self.text}{note}"


def marked(cfg: Cfg, base: Cfg) -> list[Line]:
    """The config line by line, one top-level assignment after the other, removed ones at the end."""
    lines: list[Line] = []
    for key, value in cfg.items():
        lines.extend(_value(f"{key} = ", value, base.get(key, _MISSING), 0, ""))
    lines.extend(Line(f"# {key}", "removed") for key in base if key not in cfg)
    return lines


def _value(head: str, value: Any, base: Any, indent: int, tail: str) -> Iterator[Line]:
    pad = " " * indent
    line = f"{pad}{head}{value!r}{tail}"
    if value == base and type(value) is type(base):
        if len(line) <= WIDTH or not isinstance(value, (dict, list, tuple)):
            yield Line(line)
            return
    elif base is _MISSING:
        if len(line) <= WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
            yield Line(line, "new")
            return
    elif not (isinstance(value, dict) and isinstance(base, dict)) and not _both_nested(value, base):
        yield Line(line, "changed", _short(base))
        return
    yield from _container(head, value, base, indent, tail)


def _container(head: str, value: Any, base: Any, indent: int, tail: str) -> Iterator[Line]:
    pad = " " * indent
    fresh: Literal["same", "new"] = "new" if base is _MISSING else "same"
    if isinstance(value, dict):
        old = base if isinstance(base, dict) else {}
        yield Line(f"{pad}{head}{{", fresh)
        for key, item in value.items():
            yield from _value(f"{key!r}: ", item, old.get(key, _MISSING), indent + 4, ",")
        for key in old:
            if key not in value:
                yield Line(f"{pad}    # {key!r}: {_short(old[key])}", "removed")
        yield Line(f"{pad}}}{tail}", fresh)
        return
    left, right = ("[", "]") if isinstance(value, list) else ("(", ")")
    yield Line(f"{pad}{head}{left}", fresh)
    for item, old_item in _aligned(value, base if isinstance(base, (list, tuple)) else ()):
        if item is _MISSING:
            yield Line(f"{pad}    # {_short(old_item)}", "removed")
        else:
            yield from _value("", item, old_item, indent + 4, ",")
    yield Line(f"{pad}{right}{tail}", fresh)


def _aligned(new: Any, old: Any) -> Iterator[tuple[Any, Any]]:
    """Elements side by side: those with a type by their types' order, so an inserted transform is one new line."""
    before, after = ([type_name(item) or repr(item) for item in side] for side in (old, new))
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(new[c:d], old[a:b], strict=True)
        else:
            yield from ((_MISSING, item) for item in old[a:b])
            yield from ((item, _MISSING) for item in new[c:d])


def _both_nested(value: Any, base: Any) -> bool:
    """Two lists of dicts or lists are shown element by element; two lists of numbers as one change."""

    def nested(node: Any) -> bool:
        return isinstance(node, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in node)

    return nested(value) and nested(base)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
