"""Many objects into a folder: in parallel, each checked and whole under its name, gone on with after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.core.atomic_files import move_into_place
from trainer.core.errors import DatasetError
from trainer.core.progress import Progress
from trainer.data.sources import bucket as stores
from trainer.data.sources.bucket import Bucket, ObjectMissing, StoredObject, TransferFault, delay

_SHOWN = 3
_TELL_AFTER = 1.0  # seconds; what is done sooner needs no bar


def fetch_objects(store: Bucket, wanted: Iterable[tuple[StoredObject, Path]], progress: Progress) -> None:
    """Every object in its file. Files that are there with the object's size are taken for done.

    Raises:
        DatasetError: naming the objects that are gone, or one that is another by now or comes damaged each time.
        NetworkError: the store doesn't answer, or refuses.
        OSError: a file can't be written.
    """
    pairs = list(wanted)
    todo = [pair for pair in pairs if not _there(*pair)]
    for folder in {path.parent for _, path in todo}:
        folder.mkdir(parents=True, exist_ok=True)
    work = _Work(store, iter(todo))
    total = sum(thing.size for thing, _ in pairs)
    work.done = total - sum(thing.size for thing, _ in todo)
    threads = [threading.Thread(target=work.go, daemon=True) for _ in range(min(stores.THREADS, len(todo)))]
    begun, told = time.monotonic(), False
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if time.monotonic() - begun > _TELL_AFTER:
                    told = True
                    progress.at(max(0, min(work.done, total - 1)), total)
    finally:
        work.stop.set()
        for thread in threads:
            thread.join(5)
    if work.error is not None:
        raise work.error
    if work.missing:
        names = [f"s3://{store.bucket}/{key}" for key in sorted(work.missing)]
        more = ", ..." if len(names) > _SHOWN else ""
        raise DatasetError(
            f"objects that were listed are not there ({len(names)}): {', '.join(names[:_SHOWN])}{more}"
        )
    if told:
        progress.at(total, total)


@dataclass
class _Work:
    """What the threads share."""

    store: Bucket
    todo: Iterator[tuple[StoredObject, Path]]
    done: int = 0
    missing: list[str] = field(default_factory=list)
    error: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def go(self) -> None:
        """Fetch one after the other until all are done, or somewhere something went wrong for good."""
        while not self.stop.is_set():
            with self.guard:
                pair = next(self.todo, None)
            if pair is None:
                return
            try:
                self._one(*pair)
            except ObjectMissing:
                self.missing.append(pair[0].key)
            except BaseException as error:  # told by the thread that waits
                self.error = self.error or error
                self.stop.set()

    def _one(self, thing: StoredObject, path: Path) -> None:
        part = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.part")
        idle = 0
        while not self.stop.is_set():
            before = part.stat().st_size if part.exists() else 0
            try:
                if self._try(thing, part):
                    move_into_place(part, path, flush=False)  # many small files: its size is checked
                return
            except TransferFault as fault:
                why = str(fault)
            after = part.stat().st_size if part.exists() else 0
            idle = 0 if after > before else idle + 1
            if idle >= stores.TRIES:
                raise self.store.gone(why)
            self.stop.wait(delay(max(0, idle - 1)))

    def _try(self, thing: StoredObject, part: Path) -> bool:
        """Go on with a part; whether it is whole, or the work was stopped."""
        have = part.stat().st_size if part.exists() else 0
        if have >= thing.size:  # a kill before the new name, or after a damaged one
            part.unlink(missing_ok=True)
            have = 0
        digest = hashlib.md5(usedforsecurity=False)
        with self.store.reading(thing, have) as (begin, plain, chunks), part.open("ab") as file:
            file.truncate(begin)
            if begin:
                _add(digest, part)
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                with self.guard:
                    self.done += len(chunk)
                if self.stop.is_set():
                    return False
            size = file.tell()
        if size < thing.size:
            raise TransferFault(f"the connection ended at byte {size} of {thing.size}")
        if size != thing.size or (plain and digest.hexdigest() != thing.etag.strip('"')):
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
            raise TransferFault(f"{thing.key} came damaged")
        return True


def _there(thing: StoredObject, path: Path) -> bool:
    try:
        return path.stat().st_size == thing.size
    except OSError:
        return False


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
