"""Locks between processes: a file that one of them holds, freed by the system when that one dies."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_mine: set[str] = set()
_guard = threading.Lock()


class LockHeld(Exception):
    """Somebody else has the lock; says who."""


@contextmanager
def locked(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file while the block runs. The file stays, with the holder's process id and host in it.

    A child process doesn't inherit the lock, so data loader processes that outlive a killed training by a few
    seconds don't keep it. On a file system without locks the block runs unprotected.

    Args:
        path: the file; its folder is made when missing.
        wait: seconds to wait for another holder.

    Raises:
        Held: another process, or another thread of this one, still holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name, deadline = str(path.resolve()), time.monotonic() + wait
    while not _reserve(name):
        _wait(deadline, lambda: f"process {os.getpid()}, this one,")
    try:
        # Opened only now: closing any handle of the file would free a lock that this process has on it.
        with path.open("a+b") as file:
            while not _try(file):
                _wait(deadline, lambda: _holder(path))
            _sign(file)
            try:
                yield
            finally:
                _free(file)
    finally:
        with _guard:
            _mine.discard(name)


def _reserve(name: str) -> bool:
    with _guard:
        if name in _mine:
            return False
        _mine.add(name)
        return True


def _wait(deadline: float, who: Callable[[], str]) -> None:
    if time.monotonic() >= deadline:
        raise LockHeld(who())
    time.sleep(0.05)


def _holder(path: Path) -> str:
    """Who holds a lock that this process doesn't hold, in words."""
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _sign(file: IO[bytes]) -> None:
    with suppress(OSError):
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        file.flush()


def _try(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            file.seek(_BEYOND)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _free(file: IO[bytes]) -> None:
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_UN)


_BEYOND = 1 << 20  # Windows' locks forbid reading: one byte behind all that is ever written
