"""Parameters and multiply-adds of the packages' configs, without torch: from a shipped file, or counted once.

``counts.json`` was written by ``python -m trainer.catalog.count_models`` and says for which versions. With other versions
the configs that are asked for are counted in a child process, and kept in the cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from trainer.config_tree.config_files import version
from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import cache_dir
from trainer.core.errors import TrainerError

SHIPPED = Path(__file__).with_name("counts.json")
COUNTED_WITH = ("mmdet", "mmseg", "mmpose", "mmcv", "mmengine")

Row = dict[str, Any]


def counted(bases: Iterable[str], say: Callable[[str], None] | None = None) -> dict[str, Row]:
    """What is known of each base: ``params``, ``flops`` (multiply-adds) at ``size`` [width, height], or ``reason``.

    Args:
        bases: ``package::path.py`` each.
        say: told before anything is counted, which takes seconds.
    """
    bases = list(dict.fromkeys(bases))
    known = shipped() if is_current() else _cached()
    absent = [base for base in bases if base not in known]
    if absent:
        if say:
            say(f"counting the parameters of {len(absent)} models, once for the installed versions")
        try:
            known = {**known, **_count(absent)}
            _keep(known)
        except TrainerError as error:  # torch isn't there, say; a list without these numbers is still a list
            if say:
                say(error.message)
    return {base: known[base] for base in bases if base in known}


def is_current() -> bool:
    """Whether the shipped file was counted with the installed versions."""
    return _file()["versions"] == versions()


def shipped() -> dict[str, Row]:
    """The rows of the shipped file."""
    return _file()["models"]


def versions() -> dict[str, str | None]:
    """The installed versions of what the counts depend on."""
    return {package: version(package) for package in COUNTED_WITH}


def as_text(rows: dict[str, Row]) -> str:
    """The file's text, one line a config, for the installed versions."""
    lines = [f"    {json.dumps(base)}: {json.dumps(rows[base])}" for base in sorted(rows)]
    head = json.dumps({"versions": versions()}, indent=2).removesuffix("\n}")
    return head + ',\n  "models": {\n' + ",\n".join(lines) + "\n  }\n}\n"


@functools.cache
def _file() -> dict[str, Any]:
    try:
        return dict(orjson.loads(SHIPPED.read_bytes()))
    except (OSError, ValueError):
        return {"versions": {}, "models": {}}


def _count(bases: list[str]) -> dict[str, Row]:
    from trainer.catalog.count_models import count

    return count(bases, flops=bases)


def _cached() -> dict[str, Row]:
    path = _path()
    try:
        return dict(orjson.loads(path.read_bytes())) if path else {}
    except (OSError, ValueError):
        return {}


def _keep(rows: dict[str, Row]) -> None:
    path = _path()
    if path:
        with contextlib.suppress(OSError):
            atomic_write(path, orjson.dumps({**_cached(), **rows}))


def _path() -> Path | None:
    key = hashlib.sha256(repr(versions()).encode()).hexdigest()[:16]
    try:
        return cache_dir() / "zoo" / f"counts-{key}.json"
    except OSError:
        return None
