"""One copy of a data set's serialised annotations for all processes of a machine: ranks, and workers however started.

mmengine serialises ``data_list`` into one array, which forked data-loader workers share with their parent. Each rank
has an array of its own, and spawned workers get copies. Here large ones are files in the cache, named by their content
and mapped into memory: the system keeps each page once, and the workers are handed a name instead of the bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import cache_dir

LEAST = 8 << 20  # bytes; a smaller one isn't worth a file
_UNUSED_SECONDS = 7 * 24 * 3600
_log = logging.getLogger("trainer")

Serialize = Callable[[Any], "tuple[np.ndarray, np.ndarray]"]


class Mapped(np.memmap):
    """A mapped file of bytes, shape (n,) uint8. Pickled it is the file's name; parts and results are plain arrays."""

    whole = False

    def __reduce__(self) -> Any:
        if self.whole:
            return open_mapped, (str(self.filename),)
        return np.asarray(self).__reduce__()


def open_mapped(path: str | Path) -> Mapped:
    """The whole file, to be read only."""
    mapped = Mapped(path, dtype=np.uint8, mode="r")
    mapped.whole = True  # slices don't inherit it
    return mapped


def mapping(stock: Serialize) -> Serialize:
    """``BaseDataset._serialize_data`` with its bytes in a file that every process maps."""

    def _serialize_data(self: Any) -> tuple[np.ndarray, np.ndarray]:
        content, ends = stock(self)
        return (share(content), ends) if content.nbytes >= LEAST else (content, ends)

    return _serialize_data


def share(content: np.ndarray) -> np.ndarray:
    """``content`` (uint8, one axis) as a mapped file of the cache; itself where no file can be had."""
    try:
        folder = cache_dir() / "annotations"
        path = folder / f"{hashlib.sha256(content.data).hexdigest()[:32]}.bin"
        if not (path.is_file() and path.stat().st_size == content.nbytes):
            _sweep(folder)
            atomic_write(path, lambda file: file.write(content.data))
        os.utime(path)
        return open_mapped(path)
    except OSError as error:
        _log.warning("annotations stay in each process's memory: the cache can't hold them: %s", error)
        return content


def _sweep(folder: Path) -> None:
    """Remove what nobody opened for a week; who has it mapped keeps it."""
    for path in folder.glob("*.bin"):
        try:
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
