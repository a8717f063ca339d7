"""COCO-style JSON files too large to be held as objects: their long lists are read a few MB at a time.

One pass finds where elements end, by brackets outside of strings; pieces of whole elements are then parsed one by one,
as often as they are asked for. What remains of the file is parsed as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from trainer.core.errors import DatasetError

LARGE = 64 << 20  # bytes; smaller files are parsed at once
CHUNK = 8 << 20
_LISTS = re.compile(rb'"(images|annotations)"\s*:\s*\[\Z')
_SPACE = b" \t\r\n"
_QUOTE, _BACKSLASH, _OPEN_LIST = b'"\\['
_STEP = np.zeros(256, np.int8)
_STEP[list(b"{[")], _STEP[list(b"}]")] = 1, -1


class JsonEntries:
    """The elements of a list in a file. They are read whenever they are iterated over, and never kept."""

    def __init__(self, path: Path, pieces: list[tuple[int, int]]) -> None:
        self._path = path
        self._pieces = pieces

    def __iter__(self) -> Iterator[Any]:
        try:
            for batch in self._batches():
                yield from batch
        except ValueError as error:  # it was valid when it was opened
            raise DatasetError(f"{self._path} was changed while it was read") from error

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def check(self) -> None:
        """Parse all of it.

        Raises:
            ValueError: it is not JSON.
        """
        for _ in self._batches():
            pass

    def _batches(self) -> Iterator[list[Any]]:
        with self._path.open("rb") as file:
            for number, (start, end) in enumerate(self._pieces):
                file.seek(start)
                text = file.read(end - start).strip(_SPACE)
                if number and text:
                    if not text.startswith(b",") or not text[1:].strip(_SPACE):
                        raise ValueError(
                            "elements without a comma between them, or a comma without an element"
                        )
                    text = text[1:]
                yield orjson.loads(b"[" + text + b"]")


def open_large(path: Path) -> dict[str, Any] | None:
    """Open a file with its ``images`` and ``annotations`` as :class:`JsonEntries`; None where it must be read whole.

    That is where it isn't valid JSON, of which a reader of the whole says why, or has another form.

    Raises:
        OSError: it can't be read.
    """
    scan = _Scan()
    with path.open("rb") as file:
        for start, chunk in _chunks(file):
            if not scan.take(start, chunk):
                return None
    if scan.depth or scan.in_string:
        return None
    try:
        raw = orjson.loads(bytes(scan.rest).removeprefix(b"\xef\xbb\xbf"))
        lists = {name: JsonEntries(path, pieces) for name, pieces in scan.pieces.items()}
        for entries in lists.values():
            entries.check()
    except ValueError:
        return None
    return {**raw, **lists} if isinstance(raw, dict) else None


def _chunks(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The file in pieces that don't end in a backslash, each with its place."""
    start = 0
    while chunk := file.read(CHUNK):
        while chunk.endswith(b"\\") and (more := file.read(1)):
            chunk += more
        yield start, chunk
        start += len(chunk)


@dataclass
class _Scan:
    """What is known of a file so far. ``rest`` is the file without the lists' content, which is in ``pieces``."""

    depth: int = 0
    in_string: int = 0
    rest: bytearray = field(default_factory=bytearray)
    pieces: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _list: list[tuple[int, int]] | None = None  # the list that the last chunk ended in
    _from: int = 0  # where its next piece begins

    def take(self, start: int, chunk: bytes) -> bool:
        """Go on with ``chunk``; False where the file has a form that isn't known here."""
        codes = np.frombuffer(chunk, np.uint8)
        marks, depths = self._brackets(codes, chunk)
        opens = _STEP[codes[marks]] > 0
        ends = marks[(depths == 2) & ~opens]
        kept = 0
        outer = ((depths == 2) & opens & (codes[marks] == _OPEN_LIST)) | ((depths == 1) & ~opens)
        for at, opened in zip(marks[outer].tolist(), opens[outer].tolist(), strict=True):
            if opened:
                self.rest += chunk[kept : at + 1]
                kept = at + 1
                found = _LISTS.search(bytes(self.rest[-80:]))
                if found and not self._begin(found.group(1).decode(), start + at + 1):
                    return False
            elif self._list is not None:
                self._list.append((self._from, start + at))
                self._list, kept = None, at
        if self._list is None:
            self.rest += chunk[kept:]
        elif len(ends) and start + int(ends[-1]) >= self._from:
            end = start + int(ends[-1]) + 1
            self._list.append((self._from, end))
            self._from = end
        return True

    def _begin(self, name: str, at: int) -> bool:
        if name in self.pieces:
            return False  # twice the same key
        self._list = self.pieces[name] = []
        self._from = at
        return True

    def _brackets(self, codes: np.ndarray, chunk: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Where brackets outside of strings are, and how deep the file is behind each."""
        quotes = np.flatnonzero(codes == _QUOTE)
        if b'\\"' in chunk:
            after = quotes[(quotes > 0) & (codes[quotes - 1] == _BACKSLASH)].tolist()
            quotes = np.setdiff1d(quotes, [at for at in after if _escaped(chunk, at)], assume_unique=True)
        marks = np.flatnonzero(_STEP[codes])
        marks = marks[(np.searchsorted(quotes, marks) + self.in_string) % 2 == 0]
        depths = self.depth + np.cumsum(_STEP[codes[marks]], dtype=np.int64)
        self.in_string = (self.in_string + len(quotes)) % 2
        self.depth = int(depths[-1]) if len(depths) else self.depth
        return marks, depths


def _escaped(chunk: bytes, at: int) -> bool:
    """Whether an odd number of backslashes stands before ``at``."""
    before = at
    while before and chunk[before - 1] == _BACKSLASH:
        before -= 1
    return (at - before) % 2 == 1
