"""Which checkpoints a run has and whether they are whole. Imports no torch: other commands ask it too.

``checkpoints/manifest.json``::

    {"version": 1, "last": {"file", "size", "sha256", "epoch", "iter", "metric", "value", ...}, "best": {...},
     "next": {"last": {...}}}

``next`` holds what is about to take a name: it is written before the rename and taken out after it, so at
every moment the file under a name is described by one of the two entries, whenever the process is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trainer.errors import CheckpointError
from trainer.storage import atomic_file, atomic_write

NAMES = ("last", "best")
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
        return content

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
        for name in NAMES:
            entry = self.entry(name)
            if entry is not None:
                return self.file(name), entry, complaints
            state = "doesn't match its checksum" if self.file(name).exists() else "is missing"
            complaints.append(f"{self.file(name).name} {state}")
        raise CheckpointError(f"no checkpoint in {self.folder} can be used: {', '.join(complaints)}")

    @contextmanager
    def replacing(self, name: str, facts: Entry) -> Iterator[_HashingFile]:
        """The file that becomes ``<name>.pth`` when the block ends; the old one stays valid until then."""
        with atomic_file(self.file(name)) as raw:
            file = _HashingFile(raw)
            yield file
            entry = {"file": self.file(name).name, "size": file.size, "sha256": file.hexdigest(), **facts}
            self._announce(name, entry)
        self._settle(name, entry)

    def copy(self, source: str, name: str, **facts: Any) -> Entry:
        """Give ``<source>.pth``, just written, the second name ``<name>.pth``: a hard link where possible."""
        entry = {**self.read()[source], "file": self.file(name).name, **facts}
        beside = self.folder / f".{name}.pth.{secrets.token_hex(4)}.tmp"
        try:
            os.link(self.file(source), beside)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.file(source), beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
        self._announce(name, entry)
        os.replace(beside, self.file(name))
        self._settle(name, entry)
        return entry

    def _announce(self, name: str, entry: Entry) -> None:
        manifest = self.read()
        manifest["next"] = {name: entry}
        self._write(manifest)

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
