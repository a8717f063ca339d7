"""Zip and tar archives, written by anyone: unpacked into a folder that they can't leave, or refused with the place."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from trainer.core.errors import DatasetError
from trainer.data.files import inside
from trainer.data.sources import dataset_cache

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_FILES = 20_000_000
MAX_RATIO = 200  # unpacked to packed; JSON reaches 20, nothing real 100
RATIO_FROM = 64 << 20  # bytes unpacked, below which the ratio doesn't matter
_CHUNK = 1 << 20
_JUNK = ("__MACOSX/",)
# What the standard library's readers raise for damaged files.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, IndexError,
    OverflowError, NotImplementedError, RuntimeError, gzip.BadGzipFile,
)  # fmt: skip

Report = Callable[[int, int], None]  # bytes done, of


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """``cats.tar.gz`` -> ``cats``."""
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def unpacked(archive: Path, report: Report = lambda done, of: None) -> Path:
    """The folder with the content of an archive, unpacked into the cache unless the same content is there.

    Raises:
        DatasetError: it can't be read, or a member may not be written; nothing stays behind then.
        ResourceError: the disk is full.
    """
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _sha256(file)
    except OSError as error:
        raise DatasetError(f"dataset.path: {archive} can't be read: {error.strerror}") from None

    def fill(part: Path) -> dict[str, Any]:
        try:
            files = unpack(archive, part / "data", archive.name, report)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return {"source": str(archive), "sha256": digest.hexdigest(), "files": files}

    return data_root(dataset_cache.cache_entry(f"archive-{digest.hexdigest()[:16]}", str(archive), fill))


def unpack(archive: Path, target: Path, shown: str, report: Report = lambda done, of: None) -> int:
    """Write all files of an archive below ``target``, which is emptied before; how many there were.

    Only plain files and folders with names inside ``target``: links, devices, absolute names, ``..`` and names that
    come twice are refused, as is what unpacks to more than the cache may hold.

    Raises:
        DatasetError: naming ``shown`` and the member.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    into = _Writer(target, shown, archive.stat().st_size)
    try:
        with archive.open("rb") as raw:
            if archive.name.lower().endswith(".zip"):
                _unzip(raw, into, report)
            else:
                _untar(raw, into, report)
    except _DAMAGED as error:
        raise DatasetError(f"{shown} is no whole archive: {error or type(error).__name__}") from None
    if not into.files:
        raise DatasetError(f"{shown} holds no file")
    return into.files


def data_root(folder: Path) -> Path:
    """The folder itself, or the one in it where archives have all in one folder."""
    while True:
        held = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(held) != 1 or not held[0].is_dir():
            return folder
        folder = held[0]


class _Writer:
    """Writes members one by one and counts what they take."""

    def __init__(self, target: Path, shown: str, packed: int) -> None:
        self.files = 0
        self._target, self._shown, self._packed = target, shown, packed
        self._bytes = 0
        self._limit = dataset_cache.limit_bytes()

    def refuse(self, member: str, why: str) -> DatasetError:
        return DatasetError(f"{self._shown}: the member {member!r} {why}; nothing was unpacked")

    def path(self, member: str) -> Path:
        clean = inside(member.rstrip("/"))
        if clean is None or ".." in member.replace("\\", "/").split("/"):
            raise self.refuse(member, "has a name that leads out of the folder")
        return self._target / clean

    def folder(self, member: str) -> None:
        if member.rstrip("/") in (".", ""):
            return
        with self._named(member):
            self.path(member).mkdir(parents=True, exist_ok=True)

    def announce(self, member: str, size: int) -> None:
        """Refuse at once what says itself that it is too large."""
        if size < 0 or self._bytes + size > self._limit:
            gigabytes = f"{self._limit / dataset_cache.GB:g} GB"
            raise self.refuse(
                member, f"makes it more than {gigabytes}, which TRAINER_CACHE_GB allows, when unpacked"
            )

    def file(self, member: str, source: IO[bytes], report: Callable[[int], None]) -> None:
        path = self.path(member)
        self.files += 1
        if self.files > MAX_FILES:
            raise self.refuse(member, f"is one of more than {MAX_FILES:,} files")
        with self._named(member):
            path.parent.mkdir(parents=True, exist_ok=True)
            target = path.open("xb")
        with target:
            while chunk := source.read(_CHUNK):
                self._bytes += len(chunk)
                self.announce(member, 0)
                if self._bytes > max(RATIO_FROM, MAX_RATIO * self._packed):
                    raise self.refuse(member, f"makes it more than {MAX_RATIO} times its size when unpacked")
                target.write(chunk)
                report(self._bytes)

    @contextlib.contextmanager
    def _named(self, member: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self.refuse(
                member, "has a name that another one has, too, or a folder that is a file"
            ) from None
        except OSError as error:
            if error.strerror and "too long" in error.strerror.lower():
                raise self.refuse(f"{member[:60]}...", "has a name that is too long") from None
            raise


def _unzip(raw: IO[bytes], into: _Writer, report: Report) -> None:
    with zipfile.ZipFile(raw) as archive:
        members = [m for m in archive.infolist() if not m.filename.startswith(_JUNK)]
        total = sum(member.file_size for member in members)
        for member in members:  # all before the first is written
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise into.refuse(member.filename, _kind(stat.S_ISLNK(kind)))
            if member.flag_bits & 1:
                raise into.refuse(member.filename, "is encrypted")
            if not member.is_dir():
                into.path(member.filename)
        if members:
            into.announce(max(members, key=lambda m: m.file_size).filename, total)
        for member in members:
            if member.is_dir():
                into.folder(member.filename)
                continue
            with archive.open(member) as source:
                into.file(member.filename, source, lambda done: report(done, total))


def _untar(raw: IO[bytes], into: _Writer, report: Report) -> None:
    total = os.fstat(raw.fileno()).st_size
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    with contextlib.ExitStack() as stack:
        stream: Any = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
        archive = stack.enter_context(tarfile.TarFile(fileobj=_Guarded(stream)))  # type: ignore[arg-type]
        archive.errorlevel = 2
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it would keep them all
            if member.name.startswith(_JUNK):
                continue
            if member.isdir():
                into.folder(member.name)
            elif not member.isreg() or member.issparse():
                raise into.refuse(member.name, _kind(member.issym() or member.islnk()))
            else:
                into.announce(member.name, member.size)
                source = archive.extractfile(member)
                assert source is not None
                with source:
                    into.file(member.name, source, lambda done: report(raw.tell(), total))
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError(f"what follows byte {archive.offset:,} is damaged")


class _Guarded:
    """A stream for tarfile, which would otherwise read a name of any length into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 4 * _CHUNK:
            raise ValueError("a header of more than 4 MB")
        return self._stream.read(size)


def _kind(link: bool) -> str:
    return "is a link" if link else "is neither a file nor a folder"


def _sha256(file: IO[bytes]) -> Any:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest
