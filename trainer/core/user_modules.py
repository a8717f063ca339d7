"""Modules outside OpenMMLab and this package that a model, hook, metric or optimizer is in: importing them by name.

A training names them once (``imports=[my_package]``), or an installed package does (entry points ``trainer.modules``).

>>> user_modules({"imports": ["mmdet.models", "my_package", "trainer.engine.registered"]})
['my_package']
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable
from typing import Any

from trainer.core import plugins
from trainer.core.errors import ConfigError

OPENMMLAB = ("mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "mmpretrain")
KEY = "imports"
HOW = "put the folder that it lies in on PYTHONPATH, or install its package with pip"
_UNREGISTERED = re.compile(r"(\S+) is not in the \S+ registry")
_skipped: dict[str, str] = {}  # modules that a checkpoint named and that weren't imported: why


def custom_imports(value: Any) -> list[str]:
    """The names in MMEngine's ``custom_imports``, which may be a mapping, a list or one name."""
    names = value.get("imports") if isinstance(value, dict) else value
    return [str(name) for name in ([names] if isinstance(names, str) else names or [])]


def user_modules(value: Any) -> list[str]:
    """Those of ``custom_imports`` that are no part of OpenMMLab or this package."""
    names = custom_imports(value)
    return [name for name in names if name.partition(".")[0] not in (*OPENMMLAB, "trainer")]


def check_found(names: Iterable[str], key: str = KEY) -> None:
    """Look for modules without importing them.

    Raises:
        ConfigError: one that isn't there, and how to have it found.
    """
    for name in names:
        try:
            missing = importlib.util.find_spec(name.partition(".")[0]) is None
        except (ImportError, ValueError):
            missing = True
        if missing:
            raise ConfigError(f"{key}: there is no module {name!r}; {HOW}")


def import_modules(names: Iterable[str], key: str = KEY) -> None:
    """Import modules.

    Args:
        key: what names them, for the message.

    Raises:
        ConfigError: one can't be imported: why, and how to fix it.
    """
    plugged = {entry.value: entry for entry in plugins.entry_points(plugins.MODULES)}
    for name in names:
        if reason := _failure(name):
            source = plugged.get(name)
            where = f"{source.source} ({plugins.MODULES})" if source else key
            raise ConfigError(f"{where}: the module {name!r} can't be imported ({reason}); {HOW}")


def import_if_possible(names: Iterable[str]) -> list[str]:
    """Import modules that may not be needed; those that could be imported.

    Why another couldn't is said by :func:`missing_part`, should it turn out to be needed.
    """
    imported = []
    for name in names:
        if reason := _failure(name):
            _skipped[name] = reason
        else:
            imported.append(name)
    return imported


def skip(name: str, reason: str) -> None:
    """Note why a module that a checkpoint names isn't imported, for :func:`missing_part`."""
    _skipped[name] = reason


def missing_part(error: BaseException) -> str | None:
    """What to do about a part that no registry of MMEngine knows; None for another error."""
    match = _UNREGISTERED.search(str(error))
    if match is None:
        return None
    part = match[1].strip("'\"`")
    skipped = "".join(f"; {name} was not imported: {reason}" for name, reason in _skipped.items())
    example = next(iter(_skipped), "my_package")
    return f"{part!r} is not registered: a typo, or its module must be named by {KEY}=[{example}]{skipped}"


def _failure(name: str) -> str | None:
    """Import a module; why it couldn't be, None where it could."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    _skipped.pop(name, None)
    return None
