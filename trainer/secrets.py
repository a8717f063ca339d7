"""Keeping secrets out of what is written: saved configs, events, logs, trackers."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

# Whole words of a key; `use_cls_token`, `num_tokens` and `tokenizer` are model keys, so `token` alone is not enough.
_SECRET_KEY = re.compile(
    r"(^|[_.\-])(password|passwd|pwd|secret|secret_?key|api_?key|access_?key(_?id)?|private_?key|credentials?"
    r"|auth_?token|access_?token|api_?token|refresh_?token|bearer|session_?token)$",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^/\s@]+@")


def masked(value: Any, key: str = "") -> Any:
    """``value`` with secrets replaced by ``***``: values of keys that name one, and user info in URLs."""
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(masked(item, key) for item in value)
    if is_secret(key) and value not in (None, "", False):
        return MASK
    return mask_urls(value) if isinstance(value, str) else value


def masked_words(words: list[str]) -> list[str]:
    """Overrides as typed, ``key=value``, with secrets masked."""
    return [f"{key}{sep}{masked(value, key)}" for key, sep, value in (word.partition("=") for word in words)]


def mask_urls(text: str) -> str:
    """User names and passwords in URLs masked: ``https://***@host/path``."""
    return _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)


def is_secret(key: str) -> bool:
    """Whether a key (the last part of a dotted one) names a secret."""
    return bool(_SECRET_KEY.search(key))
