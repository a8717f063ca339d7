"""The one error family: what a user can mend is a :class:`TrainerError`, printed without a traceback."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Iterable


class TrainerError(Exception):
    """Base of all errors that are meant for the user's eyes; ``kind`` is the platform contract's name for it."""

    kind = "UnknownError"
    exit_code = 1

    @property
    def message(self) -> str:
        return str(self)


class UnknownError(TrainerError):
    """Anything without a better name."""


class DatasetError(TrainerError):
    """Missing, unreadable or inconsistent data."""

    kind = "DatasetError"


class CheckpointError(TrainerError):
    """A checkpoint that is missing, damaged, untrusted or of another model."""

    kind = "CheckpointError"


class ConfigError(TrainerError):
    """A configuration that can't be meant; nothing was started."""

    kind = "ConfigError"
    exit_code = 2


class ResourceError(TrainerError):
    """Memory, disk or device that is not there."""

    kind = "ResourceError"


class NetworkError(TrainerError):
    """A server that doesn't answer."""

    kind = "NetworkError"


class FrameworkError(TrainerError):
    """torch or an OpenMMLab package refused."""

    kind = "FrameworkError"


class ValidationError(TrainerError):
    """A body or document that doesn't fit its schema."""

    kind = "ValidationError"


def missing_package(error: ModuleNotFoundError) -> FrameworkError:
    """A package that isn't there, with the mend."""
    name = (error.name or str(error)).partition(".")[0]
    return FrameworkError(
        f"{sys.executable} has no package {name!r}: scripts/demo installs everything into .venv; use its Python, "
        "by . .venv/bin/activate or as .venv/bin/python"
    )


def of_the_machine(error: BaseException) -> TrainerError | None:
    """What a machine or its set-up, and no mistake in a program, is to blame for, by the error's type; else None."""
    text = (str(error).strip() or type(error).__name__).partition("\n")[0][:500]
    if isinstance(error, MemoryError):
        return ResourceError(f"memory is full ({text})")
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if isinstance(error, ImportError):
        return FrameworkError(f"{type(error).__name__}: {text}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"the disk is full: {error.filename or text}")
    if isinstance(error, PermissionError):
        return ResourceError(f"no permission: {error.filename or text}")
    return None


def nearest(word: str, choices: Iterable[str], n: int = 3) -> list[str]:
    """The ``n`` choices that look most like ``word``, best first; case, ``_`` and ``-`` don't count."""
    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(fold(choice), choice)
    return [folded[match] for match in difflib.get_close_matches(fold(word), folded, n=n, cutoff=0.5)]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'a' or 'b'?`` with a leading space, or nothing when no choice is near."""
    near = nearest(word, choices)
    return f" Did you mean {' or '.join(repr(c) for c in near)}?" if near else ""


def fold(name: str) -> str:
    """A name as it is compared: lower case, ``_`` and blanks as ``-``."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")
