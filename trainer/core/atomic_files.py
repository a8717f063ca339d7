"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def atomic_write(
    path: str | Path, content: bytes | str | Callable[[IO[bytes]], Any], mode: int = 0o666
) -> Path:
    """Write ``path`` so that a reader, or a kill at any moment, sees the old file or the new one, never a part.

    Args:
        path: the file; its folder is made when missing.
        content: bytes, text (UTF-8), or a function that writes to the open binary file it is given.
        mode: who may do what with it, as far as the process's umask allows; 0o600 for what is secret.
    """
    path = Path(path)
    with atomic_file(path, mode) as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
    return path


@contextmanager
def atomic_file(path: str | Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """The open temporary file that takes the name ``path`` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the target's own folder: a rename across file systems is a copy, which a kill can cut.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode & ~_UMASK)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def move_into_place(source: Path, target: Path, *, flush: bool = True) -> None:
    """Give a finished file, folder or link the name ``target``, in one step, for every reader.

    A folder takes a name only where nothing, or an empty folder, has it.

    Args:
        source: on the same file system as ``target``.
        flush: a file's content and the new name reach the disk before this returns. Without it, after a power cut
            the name may stand for less than the content: for what is checked when it is read, or easily made again.

    Raises:
        OSError: as ``os.replace`` has it; ``source`` is still there.
    """
    if flush and source.is_file() and not source.is_symlink():
        with source.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(source, target)
    if flush:
        _sync_folder(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Asked once, while nobody else can be making files: it can only be read by setting it, for all threads.
_UMASK = _umask()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
