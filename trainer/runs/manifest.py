"""Which checkpoints a run has and whether they are whole. Imports no torch: other commands ask it too.

``checkpoints/manifest.json``::

    {"version": 1, "last": {"file", "size", "sha256", "epoch", "iter", "metric", "value", ...}, "best": {...},
     "epoch-4": {..., "kept": "every"}, "next": {"last": {...}}}

``next`` holds what is about to take a name: it is written before the rename and taken out after it, so at
every moment the file under a name is described by one of the two entries, whenever the process is killed.
A file of a kept checkpoint goes after its entry.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trainer.core.atomic_files import atomic_file, atomic_write, move_into_place
from trainer.core.errors import CheckpointError

NAMES = ("last", "best")
KEPT = re.compile(r"(epoch|iter)-\d+")
Entry = dict[str, Any]


class Manifest:
    """The checkpoints in one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "manifest.json"

    def read(self) -> dict[str, Any]:
        """The manifest; an empty one when there is none.

        Raises:
            CheckpointError: it is there but can't be read.
        """
        if not self.path.exists():
            return {"version": 1}
        try:
            content = json.loads(self.path.read_bytes())
        except ValueError as error:
            raise CheckpointError(f"{self.path} is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("version", 1) != 1:
            raise CheckpointError(f"{self.path} was written by another version of this trainer")
        return content

    def kept(self) -> dict[str, Entry]:
        """The entries of the checkpoints that are kept beside last and best, by name."""
        return {name: entry for name, entry in self.read().items() if KEPT.fullmatch(name)}

    @property
    def empty(self) -> bool:
        """Whether nothing was ever saved: at most a first checkpoint was announced, and its writer was killed."""
        manifest = self.read()
        announced = manifest.get("next", {})
        return manifest.keys() <= {"version", "next"} and not any(
            self.file(name).exists() for name in announced
        )

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.pth"

    def entry(self, name: str) -> Entry | None:
        """What is known of ``<name>.pth`` as it lies there, or None when it is missing or not whole."""
        path, manifest = self.file(name), self.read()
        if not path.is_file():
            return None
        known = [entry for entry in (manifest.get("next", {}).get(name), manifest.get(name)) if entry]
        size = path.stat().st_size
        known = [entry for entry in known if entry["size"] == size]
        digest = sha256(path) if known else None
        return next((entry for entry in known if entry["sha256"] == digest), None)

    def newest_valid(self) -> tuple[Path, Entry, list[str]]:
        """The file to go on from, its entry, and what is wrong with those that were passed over.

        Raises:
            CheckpointError: no whole checkpoint is left.
        """
        complaints: list[str] = []
        manifest = self.read()
        known = {**manifest.get("next", {}), **manifest}
        others = ["best", *(name for name in known if KEPT.fullmatch(name))]
        names = ["last", *sorted(others, key=lambda name: _far(known.get(name)), reverse=True)]
        for name in names:
            entry = self.entry(name)
            if entry is not None:
                return self.file(name), entry, complaints
            state = "doesn't match its checksum" if self.file(name).exists() else "is missing"
            complaints.append(f"{self.file(name).name} {state}")
        raise CheckpointError(f"no checkpoint in {self.folder} can be used: {', '.join(complaints)}")

    @contextmanager
    def replacing(self, name: str, facts: Entry) -> Iterator[_HashingFile]:
        """The file that becomes ``<name>.pth`` when the block ends; the old one stays valid until then.

        Raises:
            OSError: it can't be written, or doesn't read back as it was written.
        """
        with atomic_file(self.file(name)) as raw:
            file = _HashingFile(raw)
            yield file
            entry = {"file": self.file(name).name, "size": file.size, "sha256": file.hexdigest(), **facts}
            raw.flush()
            os.fsync(raw.fileno())
            _verify(raw.fileno(), entry)
            self._announce(name, entry)
        self._settle(name, entry)

    def copy(self, source: str, name: str, **facts: Any) -> Entry:
        """Give ``<source>.pth``, just written, the second name ``<name>.pth``: a hard link where possible."""
        entry = {**self.read()[source], "file": self.file(name).name, **facts}
        beside = self.folder / f".{name}.pth.{secrets.token_hex(4)}.tmp"
        try:
            try:
                os.link(self.file(source), beside)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.file(source), beside)
                with beside.open("rb") as file:
                    os.fsync(file.fileno())
            self._announce(name, entry)
            move_into_place(beside, self.file(name))
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        self._settle(name, entry)
        return entry

    def drop(self, names: Iterable[str]) -> None:
        """Remove kept checkpoints: their entries, then their files."""
        names = list(names)
        if not names:
            return
        manifest = self.read()
        for name in names:
            manifest.pop(name, None)
        self._write(manifest)
        for name in names:
            self.file(name).unlink(missing_ok=True)

    def repair(self) -> list[str]:
        """Make the entries say what the files are, whatever a kill has cut: what is wrong with those that go."""
        complaints: list[str] = []
        manifest = self.read()
        if "next" in manifest:
            self._settle_coming(manifest)
            self._write(manifest)
        for name in [*NAMES, *self.kept()]:
            manifest = self.read()
            if name in manifest and self.entry(name) is None:
                state = "doesn't match its checksum" if self.file(name).exists() else "is missing"
                complaints.append(f"{self.file(name).name} {state}")
                del manifest[name]
                self._write(manifest)
        return complaints

    def _announce(self, name: str, entry: Entry) -> None:
        manifest = self.read()
        self._settle_coming(manifest)
        manifest["next"] = {name: entry}
        self._write(manifest)

    def _settle_coming(self, manifest: dict[str, Any]) -> None:
        """Keep what ``next`` says of a file that lies there: perhaps it is the only word about it."""
        for name in manifest.pop("next", {}):
            found = self.entry(name)
            if found is not None:
                manifest[name] = found

    def _settle(self, name: str, entry: Entry) -> None:
        manifest = self.read()
        manifest.pop("next", None)
        manifest[name] = entry
        self._write(manifest)

    def _write(self, manifest: dict[str, Any]) -> None:
        atomic_write(self.path, json.dumps(manifest, indent=2) + "\n")

    def clean(self) -> None:
        """Remove what a kill in the middle of a save left behind."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        if not self.path.exists():
            return
        manifest = self.read()
        known = {*manifest, *manifest.get("next", {})}
        for path in self.folder.glob("*-*.pth"):
            if KEPT.fullmatch(path.stem) and path.stem not in known:
                path.unlink(missing_ok=True)


class _HashingFile:
    """Passes writes on and hashes them: the checksum costs no second reading."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self.size += memoryview(data).nbytes
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _far(entry: Entry | None) -> int:
    return entry["iter"] if entry else -1


def _verify(handle: int, entry: Entry) -> None:
    """Read a file that was just written back, from the disk where the system lets us ask for that."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    digest, size = hashlib.sha256(), 0
    while block := os.pread(handle, 1 << 20, size):
        digest.update(block)
        size += len(block)
    if size != entry["size"] or digest.hexdigest() != entry["sha256"]:
        raise OSError(errno.EIO, f"{entry['file']} doesn't read back as it was written")


def sha256(path: Path) -> str:
    """The file's SHA-256, read in blocks."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file)
        )


def _digest(file: IO[bytes]) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
