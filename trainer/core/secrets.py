"""Keeping secrets out of what is written: saved configs, events, logs, trackers.

Three ways to know one: the name of its key (``password``, ``api_key``), its form (user and password in a URL, a
signed query, an S3 key), and its value, once learned from the environment or the configuration.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
# Shorter ones are common words; they are masked where their key tells, but not looked for in text.
SHORTEST = 6
SHORTEST_INSIDE_WORDS = 8

_KEY = r"(api|access|private|secret|encryption|signing|ssh|account|storage|master|license)[_-]?key"
_TOKEN = (
    r"(auth|access|api|bearer|refresh|session|secret|hf|hub|github|gitlab|security|tracking|id)[_-]?token"
)
# "token" only as the key's whole name or after such a word: use_cls_token and num_tokens are no secrets.
_SECRET_KEY = re.compile(
    rf"(^|[._-])(password|passwd|pwd|passphrase|secrets?|credentials?|authorization|{_KEY}|{_TOKEN})([._-]|$)"
    rf"|[a-z](Password|Passphrase|Secret|ApiKey|AccessKey|PrivateKey|SecretKey|(Auth|Access|Api|Refresh)Token)s?$"
    r"|(^|\.)(token|auth)$",
)
_SECRET_VARIABLE = re.compile(r"(^|_)(token|pass|auth)(_|$)")
_NO_SECRET_VARIABLE = re.compile(r"^(old)?pwd$|_(file|path|dir|sock|host|port|url|uri|name|user|type|mode)$")

# SQLAlchemy, for databases, takes a password up to the last @, whatever is in it.
_USER_INFO = re.compile(
    r"(?P<scheme>\b(?:postgres(?:ql)?|mysql|mariadb|mssql|oracle)(?:\+\w+)?://)(?P<info>[^\s/]*:\S*)@"
    r"|(?P<other>://)(?P<name>[^/\s]*)@"
)
_QUERY = re.compile(r"(?P<key>[?&;][\w.-]+=)(?P<value>[^&;\s'\"#]+)")
_QUERY_KEYS = re.compile(r"^(key|sig|signature|x-amz-(signature|credential|security-token)|awsaccesskeyid)$")
_ASSIGNED = re.compile(
    r"(?<![\w.-])(?P<key>[\w.-]*\w)(?P<sign>=|(?P<quote>['\"])\s*:\s*)(?P<value>\$\{[^}]*\}|'[^']*'|\"[^\"]*\"|[^\s,;&)}\]'\"]+)"
)
_INLINE = re.compile(r"(?<![\w.-])(?P<key>[\w.-]*\w)(?P<sign>\s*:\s*)(?P<value>'[^']*'|\"[^\"]*\"|[^,}\]]+)")
_HEADER = re.compile(r"(?i)(?P<key>\bauthorization['\"]?\s*[:=]\s*['\"]?)(?P<value>(?:\w+ )?[^\s'\",}]+)")
_S3_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
QUOTES = "'\""
_PLACEHOLDER = "\0"
_INTERPOLATION = re.compile(r"\$\{oc\.env:(?P<name>\w+)(?P<default>,[^}]*)?\}")


def masked(value: Any, key: str = "") -> Any:
    """``value`` with secrets replaced by ``***``: all under keys that name one, and those in the text of others.

    ``${oc.env:NAME}`` stays: it says where the secret is, not what it is.
    """
    if isinstance(value, dict):
        # What lies below a secret's key is secret, whatever it is called.
        return {name: masked(item, key if is_secret(key) else str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(masked(item, key) for item in value)
    if is_secret(key) and value not in (None, "") and not isinstance(value, bool):
        return _without_default(value) if _is_interpolation(value) else MASK
    return mask_text(value) if isinstance(value, str) else value


def mask_strings(value: Any) -> Any:
    """``value`` with the secrets in its texts masked; numbers stay, whatever their keys are called."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {
            key: masked(item, key) if isinstance(key, str) and is_secret(key) and not _number(item)
            else mask_strings(item)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, (list, tuple)):
        return [mask_strings(item) for item in value]
    return value


def masked_words(words: list[str]) -> list[str]:
    """Overrides as typed, ``key=value``, with secrets masked."""
    return [_masked_word(*word.partition("=")) for word in words]


def mask_text(text: str) -> str:
    """A text with the secrets in it masked: learned values, and what has a secret's form."""
    for learned, instead in _learned.patterns():
        text = learned.sub(instead, text)
    if "://" in text:
        text = mask_urls(text)
    if "=" in text or ":" in text:
        text = _HEADER.sub(_mask_value, text)
        text = _ASSIGNED.sub(_mask_assigned, text)
    return _S3_KEY.sub(MASK, text)


def mask_urls(text: str) -> str:
    """User names, passwords and signatures in URLs masked: ``https://***@host/path?sig=***``."""
    text = _USER_INFO.sub(_mask_user_info, text)
    return _QUERY.sub(_mask_query, text)


def is_secret(key: str) -> bool:
    """Whether a key (dotted or the last part of it) names a secret."""
    return bool(_SECRET_KEY.search(key) or _SECRET_KEY.search(key.lower()))


def has_mask(text: str) -> bool:
    """Whether a saved value lacks its secret."""
    return MASK in text


def learn_secret(config: Any, key: str = "") -> None:
    """Have the secrets in a configuration masked wherever their values turn up from now on."""
    for secret in _secrets_in(config, key):
        _learned.add(secret)


def learn_variable(name: str, value: str) -> None:
    """Have the value of an environment variable that a configuration refers to written as ``${oc.env:NAME}``."""
    if not _is_path(value) and not (("://" in value) and mask_urls(value) == value):
        _learned.add(value, f"${{oc.env:{name}}}")


def learn_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Have the values of variables whose names look like secrets masked, and the passwords in any URL."""
    for name, value in environment.items():
        if _names_secret(name) and not _is_path(value):
            _learned.add(value)
        elif "://" in value:
            learn_secret(value)


def log_to_stderr() -> None:
    """For a process beside a training: warnings, and a traceback that nobody caught, on stderr, secrets masked."""
    learn_environment()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskingFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logging.getLogger("trainer").error("ended by an error", exc_info=(kind, error, trace))

    sys.excepthook = uncaught


class MaskingFormatter(logging.Formatter):
    """A log's lines and tracebacks with secrets masked."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_text(super().format(record))


class _Learned:
    """Values to be masked wherever they are found, in the ways they are written in messages."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] | None = None

    def add(self, value: str, instead: str = MASK) -> None:
        if len(value) < SHORTEST or value.lower() in _WORDS or MASK in value or _is_interpolation(value):
            return
        lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
        for one in (value, *(line for line in lines if len(line) >= SHORTEST_INSIDE_WORDS)):
            for form in _forms(one):
                if len(form) >= SHORTEST and form not in self._values:
                    self._values[form] = instead
                    self._patterns = None

    def patterns(self) -> list[tuple[re.Pattern[str], str]]:
        if self._patterns is None:
            groups: dict[str, list[str]] = {}
            for value in sorted(self._values, key=len, reverse=True):
                groups.setdefault(self._values[value], []).append(_pattern(value))
            self._patterns = [
                (re.compile("|".join(found)), instead.replace("\\", r"\\"))
                for instead, found in groups.items()
            ]
        return self._patterns

    def clear(self) -> None:
        self._values, self._patterns = {}, None


_WORDS = {"default", "disabled", "enabled", "unknown", "required", "password", "optional"}
_learned = _Learned()


def _forms(value: str) -> set[str]:
    """A value as it is written in a message, in Python's and JSON's quotes, in a URL."""
    escaped = json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]
    return {value, *escaped, quote(value, safe=""), quote(value), unquote(value)}


def _pattern(value: str) -> str:
    text = re.escape(value)
    return text if len(value) >= SHORTEST_INSIDE_WORDS else rf"(?<!\w){text}(?!\w)"


def _secrets_in(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets_in(item, key if is_secret(key) else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets_in(item, key)
    elif is_secret(key) and value is not None and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, str) and "://" in value:
        for found in _USER_INFO.finditer(value):
            yield _password(found)


def _names_secret(variable: str) -> bool:
    name = variable.lower()
    return not _NO_SECRET_VARIABLE.search(name) and bool(is_secret(name) or _SECRET_VARIABLE.search(name))


def _is_path(value: str) -> bool:
    return value.startswith(("/", "./", "~")) and os.path.exists(os.path.expanduser(value))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_interpolation(value: Any) -> bool:
    return isinstance(value, str) and bool(_INTERPOLATION.fullmatch(value))


def _without_default(text: str) -> str:
    return _INTERPOLATION.sub(
        lambda found: f"${{oc.env:{found['name']}{f',{MASK}' if found['default'] else ''}}}", text
    )


def _masked_word(key: str, sign: str, value: str) -> str:
    if is_secret(key.lstrip("+~")):
        return f"{key}{sign}{_without_default(value) if _is_interpolation(value.strip(QUOTES)) else MASK}"
    if value.lstrip().startswith(("{", "[")):
        value = _INLINE.sub(_mask_assigned, value)
    return f"{key}{sign}{mask_text(value)}"


def _mask_user_info(found: re.Match[str]) -> str:
    return f"{found['scheme'] or found['other']}{MASK}@" if _password(found) else found[0]


def _password(found: re.Match[str]) -> str:
    """The password of a URL, its user's name where it has none; empty where that is ``${oc.env:NAME}``."""
    info = _INTERPOLATION.sub(_PLACEHOLDER, found["info"] or found["name"] or "")
    password: str = info.partition(":")[2] or info
    return "" if password == _PLACEHOLDER else password


def _mask_query(found: re.Match[str]) -> str:
    key = found["key"][1:-1].lower()
    return f"{found['key']}{MASK}" if _QUERY_KEYS.match(key) or _names_secret(key) else found[0]


def _mask_assigned(found: re.Match[str]) -> str:
    value = found["value"].strip(QUOTES)
    if (
        not is_secret(found["key"])
        or value in ("", "None", "null")
        or value.startswith(MASK)
        or _is_interpolation(value)
    ):
        return found[0]
    around = found["value"][0] if found["value"][0] in QUOTES else ""
    return f"{found['key']}{found['sign']}{around}{MASK}{around}"


def _mask_value(found: re.Match[str]) -> str:
    return f"{found['key']}{MASK}"
