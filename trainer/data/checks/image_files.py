"""What the image files themselves say: size by the header, whether they are whole, and which have equal bytes.

Headers and ends are read, never pixels, by several threads; the answers are kept in the cache by size and time of
change, so that the next start only asks for those.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import orjson

from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import cache_dir
from trainer.data.files import image_header

_VERSION = 1  # of what is kept; raise it when a check changes its answer
_THREADS, _PART = 8, 256
_COMMON = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # what every OpenCV reads
_HEAD, _TAIL = 1 << 14, 1 << 16


@dataclass(slots=True)
class ImageFacts:
    """``width`` and ``height`` are 0 where only OpenCV knows the format; ``fault`` is a rule's name or empty.

    ``edges`` is a digest of size, beginning and end; ``whole`` of all bytes, made only where edges are equal.
    """

    bytes: int
    changed: int
    width: int = 0
    height: int = 0
    fault: str = ""
    edges: str = ""
    whole: str = ""


def facts_of(paths: Iterable[str], root: Path) -> dict[str, ImageFacts]:
    """The facts of each file that is there; ``root`` names the data set that they are kept for."""
    listed = list(dict.fromkeys(paths))
    store = cache_dir() / "checks" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
    known = _read(store)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
        # Many to a call: a million futures would be larger than what they find.
        parts = [listed[i : i + _PART] for i in range(0, len(listed), _PART)]
        looked = pool.map(lambda part: [_look(path, known.get(path)) for path in part], parts)
        every = itertools.chain.from_iterable(looked)
        found = {path: facts for path, facts in zip(listed, every, strict=True) if facts}
        alike: dict[str, list[str]] = {}
        for path, facts in found.items():
            if facts.edges:
                alike.setdefault(facts.edges, []).append(path)
        unsure = [p for paths in alike.values() if len(paths) > 1 for p in paths if not found[p].whole]
        for path, digest in zip(unsure, pool.map(_digest, unsure), strict=True):
            found[path].whole = digest
    if any(known.get(name) != facts for name, facts in found.items()):
        with suppress(OSError):  # without the cache the next start asks again
            kept = {name: astuple(facts) for name, facts in (known | found).items()}
            atomic_write(store, orjson.dumps({"version": _VERSION, "files": kept}))
    return found


def _read(store: Path) -> dict[str, ImageFacts]:
    try:
        content = orjson.loads(store.read_bytes())
        if content["version"] == _VERSION:
            return {name: ImageFacts(*values) for name, values in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: it is made again
        pass
    return {}


def _look(path: str, known: ImageFacts | None) -> ImageFacts | None:
    try:
        state = os.stat(path)
        if known and (known.bytes, known.changed) == (state.st_size, state.st_mtime_ns):
            return known
        facts = ImageFacts(state.st_size, state.st_mtime_ns)
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            file.seek(max(0, state.st_size - _TAIL))
            tail = file.read()
    except OSError:
        return None
    size = image_header(Path(path))
    if size == "image_huge":
        facts.fault = size
    elif not head.startswith(_COMMON) and not cv2.haveImageReader(path):  # looks at the first bytes
        facts.fault = "image_unreadable"
    elif not isinstance(size, str):
        facts.width, facts.height = size
        facts.fault = "image_cut" if _cut(path, head, tail) else ""
    facts.edges = hashlib.sha256(b"%d\0%b\0%b" % (state.st_size, head, tail)).hexdigest()[:16]
    return facts


def _cut(path: str, head: bytes, tail: bytes) -> bool:
    """Whether a JPEG or PNG ends without its end mark."""
    png, jpeg = head.startswith(b"\x89PNG"), head.startswith(b"\xff\xd8")
    mark = b"IEND" if png else b"\xff\xd9"
    if not (png or jpeg) or mark in tail:
        return False
    # Cameras append films: the mark may be anywhere behind a JPEG's header, in which a thumbnail has one of its own.
    return mark not in Path(path).read_bytes()[_TAIL if jpeg else 0 :]


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return f"unread {path}"
    return digest.hexdigest()[:32]
