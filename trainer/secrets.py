"""Keeping secrets out of what is written: saved configs, events, logs, trackers."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

# "token" only as the key's whole name or after such a word: use_cls_token and num_tokens are no secrets.
_SECRET_KEY = re.compile(
    r"(^|[._-])(password|passwd|pwd|secrets?|credentials?|authorization|(api|access|private|secret)[_-]?key"
    r"|(auth|access|api|bearer|refresh|session|secret|hf|security)[_-]token)([._-]|$)|(^|\.)token$",
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
