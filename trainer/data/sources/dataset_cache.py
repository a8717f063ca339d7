"""The cache of unpacked and fetched data sets: whole folders, shared by processes, under a size limit.

::

    <name>/data/         the data set
    <name>/source.json   where it comes from, and its size; the file's time is that of the last use
    <name>.part/         being made; what a killed process left here is gone on with
    <name>.lock          held by the process that makes it
    <name>.use           held by all processes that read it: what is in use is never removed
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.cache_folder import cache_dir
from trainer.core.errors import ConfigError, ResourceError
from trainer.core.locks import LockHeld, locked

GB = 10**9
_LIMIT_GB = 50.0
_WAIT = 7 * 24 * 3600.0  # seconds; the one who fetches may have terabytes to fetch
_log = logging.getLogger("trainer")
_in_use: dict[str, IO[bytes]] = {}


def datasets_dir() -> Path:
    """``DATASET_CACHE_DIR``, else ``datasets`` in the cache folder. It need not be there yet."""
    named = os.environ.get("DATASET_CACHE_DIR")
    return Path(named).expanduser().absolute() if named else cache_dir() / "datasets"


def limit_bytes() -> int:
    """What the folder may hold: ``TRAINER_CACHE_GB``, else ``DATASET_CACHE_MAX_GB``, else 50 (times 10^9 bytes).

    Raises:
        ConfigError: the variable holds no number above 0.
    """
    for variable in ("TRAINER_CACHE_GB", "DATASET_CACHE_MAX_GB"):
        text = os.environ.get(variable)
        if text:
            try:
                limit = float(text)
            except ValueError:
                limit = math.nan
            if not 0 < limit < math.inf:
                raise ConfigError(f"{variable} must be a number of gigabytes above 0, not {text!r}")
            return int(limit * GB)
    return int(_LIMIT_GB * GB)


def cache_entry(name: str, what: str, fill: Callable[[Path], dict[str, Any]]) -> Path:
    """The folder of the data set ``name``, made by ``fill(<name>.part)`` unless it is there.

    ``fill`` puts the data set into ``data`` of the folder it is given, may find there what an earlier call left, and
    returns what ``source.json`` shall say. One process makes it, others wait. ``what`` names it in messages.

    Raises:
        ResourceError: the cache can't be written, or the disk is full.
        ConfigError: the size limit is no number.
    """
    limit_bytes()
    target = datasets_dir() / name
    with _disk(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        _hold(target)
        if not _whole(target):
            with _making(target, what):
                if not _whole(target):
                    _make(target, fill)
        os.utime(target / "source.json")
    make_room(0, target)
    return target / "data"


def make_room(needed: int, keep: Path) -> None:
    """Remove what wasn't used for longest until ``needed`` more bytes fit under the limit and on the disk.

    ``keep`` is the folder that they are for; what any process uses or makes stays, too.

    Raises:
        ResourceError: the disk has no room for them.
    """
    folder, limit = datasets_dir(), limit_bytes()
    for left in folder.glob(".*.gone"):
        shutil.rmtree(left, ignore_errors=True)
    held = sorted(_entries(folder), key=lambda each: each[1])
    total = sum(size for _, _, size in held)
    for path, _, size in held:
        if total + needed <= limit and shutil.disk_usage(folder).free >= needed:
            break
        if path not in (keep, _part(keep)) and _remove(path):
            _log.info("%s removed from the cache of data sets, which may hold %.1f GB", path, limit / GB)
            total -= size
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{folder} has {free / GB:.2f} GB left, {needed / GB:.2f} GB are needed; "
            "TRAINER_CACHE or DATASET_CACHE_DIR names another folder"
        )
    if needed and total + needed > limit:
        _log.warning(
            "the cache of data sets will hold %.1f GB, more than its limit of %.1f GB (TRAINER_CACHE_GB)",
            (total + needed) / GB,
            limit / GB,
        )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for below, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(below, name)).st_size
            except OSError:
                continue  # just removed
    return total


def _make(target: Path, fill: Callable[[Path], dict[str, Any]]) -> None:
    part = _part(target)
    (part / "data").mkdir(parents=True, exist_ok=True)
    about = fill(part)
    atomic_write(part / "source.json", json.dumps({**about, "bytes": size_of(part / "data")}, indent=1))
    if hasattr(os, "sync"):
        os.sync()  # of many small files at once: the new name must not outlive their content in a power cut
    move_into_place(part, target)


def _whole(target: Path) -> bool:
    return (target / "source.json").is_file()


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _entries(folder: Path) -> Iterator[tuple[Path, float, int]]:
    """(path, last use, bytes) of every data set in the cache, the unfinished included."""
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            if path.name.endswith(".part"):
                yield path, path.stat().st_mtime, size_of(path)
            elif _whole(path):
                note = path / "source.json"
                yield path, note.stat().st_mtime, int(json.loads(note.read_bytes())["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            continue


@contextmanager
def _making(target: Path, what: str) -> Iterator[None]:
    lock = target.with_name(f"{target.name}.lock")
    try:
        with locked(lock, wait=0.2):
            yield
            return
    except LockHeld as holder:
        _log.info("waiting for %s, which brings %s into the cache", holder, what)
    with locked(lock, wait=_WAIT):
        yield


def _remove(path: Path) -> bool:
    """Take one data set out of the cache, unless somebody needs it."""
    target = path.with_name(path.name.removesuffix(".part"))
    try:
        with locked(target.with_name(f"{target.name}.lock")), _unused(target) as free:
            if not free:
                return False
            gone = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.gone")
            move_into_place(path, gone, flush=False)
    except (LockHeld, OSError):
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _hold(target: Path) -> None:
    """Mark the data set as used until this process and the children that it forks have ended."""
    name = str(target)
    if name in _in_use:
        return
    file = target.with_name(f"{target.name}.use").open("ab")
    _flock(file, shared=True)
    _in_use[name] = file


@contextmanager
def _unused(target: Path) -> Iterator[bool]:
    with target.with_name(f"{target.name}.use").open("ab") as file:
        yield _flock(file, shared=False)


def _flock(file: IO[bytes], *, shared: bool) -> bool:
    """Whether the lock was had: at once when exclusive, after waiting when shared. True where there are no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the disk refuses as a :class:`ResourceError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is full" if full else f"can't be written ({error.strerror or error})"
        raise ResourceError(
            f"{folder} {what}; TRAINER_CACHE or DATASET_CACHE_DIR names another folder"
        ) from None
