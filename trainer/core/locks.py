"""Locks between processes: a file that one of them holds, released by the system when that process dies.

Not the package filelock, for two reasons. Its locks are inherited by forked children: data loader processes would
keep the lock of a killed training for some seconds. And it can't say who holds a lock, which every message here does.
"""

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

_held_here: set[str] = set()  # paths whose lock a thread of this process holds or waits for
_guard = threading.Lock()


class LockHeld(Exception):
    """Somebody else holds the lock; the message says who: ``process 4711 on node7``."""


@contextmanager
def locked(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file while the block runs. The file stays, with the holder's process id and host in it.

    On a file system without locks the block runs unprotected.

    Args:
        path: the file; its folder is made if missing.
        wait: seconds to wait for another holder; ``math.inf`` waits without a limit.

    Raises:
        LockHeld: another process, or another thread of this one, still holds it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lock"
    >>> with locked(path):
    ...     json.loads(path.read_text())["pid"] == os.getpid()
    True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name, deadline = str(path.resolve()), time.monotonic() + wait
    while not _reserve(name):
        _wait(deadline, lambda: f"process {os.getpid()}, this one,")
    try:
        # Opened only now: closing any handle of the file would release a lock that this process has on it.
        with path.open("a+b") as file:
            while not _acquire(file):
                _wait(deadline, lambda: _holder(path))
            _write_holder(file)
            try:
                yield
            finally:
                _release(file)
    finally:
        with _guard:
            _held_here.discard(name)


def _reserve(name: str) -> bool:
    with _guard:
        if name in _held_here:
            return False
        _held_here.add(name)
        return True


def _wait(deadline: float, holder: Callable[[], str]) -> None:
    if time.monotonic() >= deadline:
        raise LockHeld(holder())
    time.sleep(0.05)


def _holder(path: Path) -> str:
    """Who holds a lock that this process doesn't hold, for messages."""
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _write_holder(file: IO[bytes]) -> None:
    with suppress(OSError):
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        file.flush()


def _acquire(file: IO[bytes]) -> bool:
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


def _release(file: IO[bytes]) -> None:
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_UN)


_BEYOND = 1 << 20  # Windows' locks forbid reading: one byte behind all that is ever written
