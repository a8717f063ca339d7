"""Values as words: what Hydra's grammar reads back unchanged."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from trainer.config.overrides import parse_override
from trainer.core.errors import ConfigError


def render(value: Any) -> str:
    """The text after ``key=`` that means ``value``: None, bool, number, text, or a list or mapping of these."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(render(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{render(key)}:{render(item)}' for key, item in value.items())}}}"
    text = str(value)
    return text if _means(text, text) else QuotedString(text, Quote.single).with_quotes()


def same(one: Any, other: Any) -> bool:
    """Equal, and not merely as 1 and True are."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _means(word: str, value: str) -> bool:
    """Whether a bare word is read as that text, inside a list too."""
    if not word or any(sign in word for sign in ",:[]{}()=' \""):
        return False
    try:
        alone, inside = parse_override(f"key={word}"), parse_override(f"key=[{word}]")
    except ConfigError:
        return False
    return not alone.is_sweep and same(alone.value, value) and same(inside.value, [value])
