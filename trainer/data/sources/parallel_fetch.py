"""Many objects into a folder: in parallel, each checked and complete under its name, resumed after a kill."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.core.atomic_files import move_into_place
from trainer.core.errors import DatasetError
from trainer.core.object_store import StoredObject
from trainer.core.progress import Progress
from trainer.core.remote_content import append_content, size_of_part
from trainer.core.remote_faults import ObjectMissing, TransientFault
from trainer.data.sources import bucket as stores
from trainer.data.sources.bucket import Bucket

_MAX_NAMES = 3  # of missing objects, in a message
_BAR_AFTER = 1.0  # seconds; what is done sooner needs no bar


class _Stopped(Exception):
    """Another thread failed, or the caller was interrupted."""


def fetch_objects(store: Bucket, pairs: Iterable[tuple[StoredObject, Path]], progress: Progress) -> None:
    """Download every object into its file. A file that has the object's size already counts as done.

    Raises:
        DatasetError: naming the objects that are missing, or one that has changed or arrives damaged each time.
        NetworkError: the store doesn't answer, or refuses.
        OSError: a file can't be written.
    """
    pairs = list(pairs)
    pending = [pair for pair in pairs if not _is_complete(*pair)]
    for folder in {path.parent for _, path in pending}:
        folder.mkdir(parents=True, exist_ok=True)
    work = _Work(store, iter(pending))
    total = sum(entry.size for entry, _ in pairs)
    work.done = total - sum(entry.size for entry, _ in pending)
    count = min(stores.THREADS, len(pending))
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(count)]
    begun, bar_shown = time.monotonic(), False
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if time.monotonic() - begun > _BAR_AFTER:
                    bar_shown = True
                    progress.at(max(0, min(work.done, total - 1)), total)
    finally:
        work.stop.set()
        for thread in threads:
            thread.join(5)
    if work.error is not None:
        raise work.error
    if work.missing:
        names = [f"s3://{store.bucket}/{key}" for key in sorted(work.missing)]
        more = ", ..." if len(names) > _MAX_NAMES else ""
        raise DatasetError(
            f"objects that were listed are not there ({len(names)}): {', '.join(names[:_MAX_NAMES])}{more}"
        )
    if bar_shown:
        progress.at(total, total)


@dataclass
class _Work:
    """What the threads share."""

    store: Bucket
    pending: Iterator[tuple[StoredObject, Path]]
    done: int = 0
    missing: list[str] = field(default_factory=list)
    error: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Fetch one object after the other until none is left, or a thread has failed for good."""
        while not self.stop.is_set():
            with self.guard:
                pair = next(self.pending, None)
            if pair is None:
                return
            try:
                self._fetch(*pair)
            except _Stopped:
                return
            except ObjectMissing:
                self.missing.append(pair[0].key)
            except BaseException as error:  # raised by the thread that waits
                self.error = self.error or error
                self.stop.set()

    def _fetch(self, entry: StoredObject, path: Path) -> None:
        part = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.part")
        self.store.again(
            lambda: self._fetch_once(entry, part),
            progress=lambda: size_of_part(part),
            wait=self.stop.wait,
        )
        move_into_place(part, path, flush=False)  # many small files: the size is checked

    def _fetch_once(self, entry: StoredObject, part: Path) -> None:
        """Complete a part, or raise why it isn't."""
        start = size_of_part(part)
        if start >= entry.size:  # a kill before the new name, or after a damaged one
            part.unlink(missing_ok=True)
            start = 0
        digest = hashlib.md5(usedforsecurity=False)

        def add(chunk: bytes) -> None:
            digest.update(chunk)
            with self.guard:
                self.done += len(chunk)
            self._check_stop()

        self._check_stop()
        with self.store.reading(entry, start) as content:
            if content.start:
                _update(digest, part)
            append_content(part, content, add)
        if size_of_part(part) != entry.size or content.md5 not in (None, digest.hexdigest()):
            part.unlink(missing_ok=True)
            raise TransientFault(f"{entry.key} arrived damaged")

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise _Stopped


def _is_complete(entry: StoredObject, path: Path) -> bool:
    try:
        return path.stat().st_size == entry.size
    except OSError:
        return False


def _update(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
