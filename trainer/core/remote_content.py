"""A remote file's content from some byte on, and the part of it that is already here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.core.remote_faults import FileChanged, TransientFault

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class RemoteContent:
    """A file, or its rest.

    Attributes:
        start: the byte of the file that ``chunks`` begin with.
        size: bytes of the whole file; None when the server doesn't say.
        tag: changes when the file does (ETag or date); None when the server has none.
        chunks: the content. Iterating raises :class:`TransientFault` when the connection breaks off.
        md5: the whole content's MD5 in hexadecimal; None when the server doesn't say.
    """

    start: int
    size: int | None
    tag: str | None
    chunks: Iterator[bytes]
    md5: str | None = None


def size_of_part(part: Path) -> int:
    """Bytes of a partial file; 0 when it doesn't exist."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def append_content(part: Path, content: RemoteContent, on_chunk: Callable[[bytes], object]) -> None:
    """Write ``content`` into the file ``part``, behind the first ``content.start`` bytes of it.

    Args:
        part: the partial file, created when missing. What was read stays in it when this raises.
        content: the rest of the file.
        on_chunk: called with every chunk that was written. What it raises ends the transfer.

    Raises:
        TransientFault: the connection broke off or ended early.
        FileChanged: more came than ``content.size``.
    """
    with part.open("ab") as file:
        file.truncate(content.start)
        for chunk in content.chunks:
            file.write(chunk)
            on_chunk(chunk)
        end = file.tell()
    if content.size is not None and end < content.size:
        raise TransientFault(f"the connection ended at byte {end} of {content.size}")
    if content.size is not None and end > content.size:
        raise FileChanged("the server sends more than it said")
