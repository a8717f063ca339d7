"""Where prepared data is kept, and folders that are either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from trainer.core.atomic_files import move_into_place

_STALE_SECONDS = 24 * 3600


def cache_dir() -> Path:
    """The folder of everything that can be made again.

    ``TRAINER_CACHE``, else ``XDG_CACHE_HOME/openmmlab-trainer``, else ``~/.cache/openmmlab-trainer``; the system's
    folder for temporary files where none of these can be written (containers without a home).
    """
    named = os.environ.get("TRAINER_CACHE")
    if named:
        choices = [Path(named).expanduser()]
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        choices = [(Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "openmmlab-trainer"]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    choices.append(Path(tempfile.gettempdir()) / f"openmmlab-trainer-{user}")
    for choice in choices:
        if _writable(choice):
            return choice.resolve()
    raise OSError(f"no folder can be written for the cache; tried {', '.join(map(str, choices))}")


def build_folder(target: Path, fill: Callable[[Path], None], *, replace: bool = False) -> Path:
    """``target``, filled by ``fill(temporary folder)`` unless it is there already.

    The work is done beside ``target`` and renamed at the end: a kill leaves nothing behind under that name, and of two
    processes that build the same folder at once the later one keeps the earlier one's. ``replace`` builds anew.
    """
    if target.is_dir() and not replace:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    work = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    work.mkdir()
    try:
        fill(work)
        if replace and target.is_dir():
            _set_aside(target)
        try:
            move_into_place(work, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _set_aside(target: Path) -> None:
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        move_into_place(target, old, flush=False)
    except FileNotFoundError:  # another process replaces it at this moment
        return
    shutil.rmtree(old, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes left of this folder."""
    for left in target.parent.glob(f".{target.name}.*.tmp"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
