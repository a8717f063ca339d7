"""Reading what a data set's folder holds: JSON with a position in its errors, image sizes, names that stay inside."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from trainer.data.records import Problems

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm"}
)
_SIDEWAYS = range(5, 9)  # EXIF orientations that swap width and height, which cv2 does when it reads the file
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_TEXT = 64 << 20  # bytes of a label, list, XML or YAML file; the largest real ones have a few MB
# What cv2 reads at most: CV_IO_MAX_IMAGE_WIDTH, CV_IO_MAX_IMAGE_PIXELS.
_MAX_SIDE, _MAX_PIXELS = 1 << 20, 1 << 30


class Folder:
    """Files below ``root`` by names that others wrote. Links that lead out of it are not followed unless asked."""

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root = root
        self._follow = follow_links
        self._real = os.path.realpath(root)
        self._known: dict[str, bool] = {}

    def lacks(self, name: str) -> str | None:
        """Why the file ``name`` can't be read, to be put after a plural noun; None when it can."""
        path = os.path.join(self.root, name)
        try:
            state = os.stat(path)
        except (OSError, ValueError):
            return f"missing below {self.root}"
        if not stat.S_ISREG(state.st_mode):
            return f"missing below {self.root}"
        if not self._follow and self._leads_out(path):
            return f"behind links that lead out of {self.root} (dataset.follow_links=true follows them)"
        return None if state.st_size else "that are empty (0 bytes)"

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder, without a word on its content."""
        path = os.path.join(self.root, name)
        return os.path.exists(path) and (self._follow or not self._leads_out(path))

    def named(self, name: str) -> bool:
        """Whether something has this name, a link that leads nowhere good included: :meth:`lacks` says what of it."""
        return os.path.lexists(os.path.join(self.root, name))

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders directly in ``below``, sorted, hidden ones left out."""
        return [name for name, is_folder in self._entries(below) if is_folder]

    def files(self, suffixes: frozenset[str], below: str = "", *, deep: bool = True) -> list[str]:
        """Names, relative to ``root``, of all files with one of ``suffixes`` (lower case), sorted, none hidden."""
        found: list[str] = []
        seen: set[str] = set()
        open_folders = [below]
        while open_folders:
            folder = open_folders.pop()
            real = os.path.realpath(os.path.join(self.root, folder))
            if real in seen:
                continue  # a link to a folder above
            seen.add(real)
            for name, is_folder in self._entries(folder):
                whole = f"{folder}/{name}" if folder else name
                if is_folder and deep:
                    open_folders.append(whole)
                elif not is_folder and os.path.splitext(name)[1].lower() in suffixes:
                    found.append(whole)
        return sorted(found)

    def some(
        self, suffixes: frozenset[str], below: str = "", *, deep: bool = True, limit: int = 5
    ) -> list[str]:
        """Like :meth:`files`, but it stops after the first folder that has some, and after ``limit`` names."""
        here = [
            f"{below}/{name}" if below else name
            for name, is_folder in self._entries(below)
            if not is_folder and os.path.splitext(name)[1].lower() in suffixes
        ]
        if here or not deep:
            return here[:limit]
        for name in self.folders(below)[:50]:
            inner = f"{below}/{name}" if below else name
            if found := self.some(suffixes, inner, deep=inner.count("/") < 4, limit=limit):
                return found
        return []

    def read(self, name: str, problems: Problems) -> bytes | None:
        """A text file's bytes, or None after noting why not."""
        lacking = self.lacks(name)
        # A label file may be empty: nothing is labelled.
        if lacking and "0 bytes" in lacking:
            return b""
        if lacking:
            problems.error(f"files {lacking}", name)
            return None
        return read_bytes(self.root / name, problems)

    def _entries(self, below: str) -> list[tuple[str, bool]]:
        path = os.path.join(self.root, below) if below else str(self.root)
        if not self._follow and self._leads_out(path):
            return []
        try:
            with os.scandir(path) as listing:
                entries = [
                    (entry.name, entry.is_dir()) for entry in listing if not entry.name.startswith(".")
                ]
        except OSError:
            return []
        return sorted(entry for entry in entries if not _CONTROL.search(entry[0]))

    def _leads_out(self, path: str) -> bool:
        folder = os.path.dirname(path)
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = not self._contains(os.path.realpath(folder))
        if path == str(self.root):
            return False
        return known or (os.path.islink(path) and not self._contains(os.path.realpath(path)))

    def _contains(self, real: str) -> bool:
        return real == self._real or real.startswith(self._real.rstrip(os.sep) + os.sep)


def read_bytes(path: Path, problems: Problems, limit: int | None = _MAX_TEXT) -> bytes | None:
    """A file's content, or None after noting why it can't be had."""
    try:
        if limit is not None and path.stat().st_size > limit:
            problems.error(f"files larger than {limit >> 20} MB that should hold a few labels", path.name)
            return None
        return path.read_bytes()
    except OSError as error:
        problems.error(f"{path} can't be read: {error.strerror}")
        return None


def decode(content: bytes, name: str, problems: Problems) -> str | None:
    """UTF-8 text (with or without a mark), or None after noting the line that is something else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.error("text files that are not UTF-8", f"{name}, line {line}")
        return None


def parse_json(content: bytes, path: Path, problems: Problems) -> dict[str, Any] | None:
    """The object in an annotation file, or None after noting the mistake with its line and column."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        problems.error(f"{path} is UTF-16 text; JSON must be UTF-8, line 1")
        return None
    try:
        document = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        problems.error(
            f"{path} is not JSON: {error.msg.split(':')[0]}, line {error.lineno} column {error.colno}"
        )
        return None
    if not isinstance(document, dict):
        problems.error(
            f"{path} must hold one JSON object with images and annotations, not a {type(document).__name__}"
        )
        return None
    return document


def inside(name: Any) -> str | None:
    """``name`` as a clean relative path, or None where it is no name or would leave the folder it belongs to."""
    if not isinstance(name, str) or not name or len(name) > 4096 or _CONTROL.search(name):
        return None
    clean = posixpath.normpath(name.replace("\\", "/"))
    if absolute(name) or clean in (".", "..") or clean.startswith("../"):
        return None
    return clean


def absolute(name: str) -> bool:
    """Whether a name starts at a root, of this system or of Windows."""
    return name.startswith(("/", "\\")) or bool(_DRIVE.match(name))


def plausible_size(width: Any, height: Any) -> bool:
    """Whether an image can have these sides; OpenCV reads no larger one."""
    if type(width) is not int or type(height) is not int:
        return False
    return 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE and width * height <= _MAX_PIXELS


def lacking_rule(reason: str) -> str:
    """The rule (:mod:`trainer.data.checks.rules`) that a reason of :meth:`Folder.lacks` is a case of."""
    if "0 bytes" in reason:
        return "image_empty"
    return "image_linked" if "links" in reason else "image_missing"


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the image's header, as cv2 would read it (EXIF turned); None when it is no image."""
    size = image_header(path)
    return size if not isinstance(size, str) else None


def image_header(path: Path) -> tuple[int, int] | str:
    """Width and height as :func:`image_size` has them, or the rule that is broken. Nothing is decoded."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; nothing is decoded here
            with Image.open(path) as image:
                width, height = image.size
                # Pillow decodes a whole PNG to look for what may come after its pixels.
                told = image.format != "PNG" or "exif" in image.info
                sideways = told and image.getexif().get(274) in _SIDEWAYS
    except Image.DecompressionBombError:
        return "image_huge"
    except Exception:  # damaged headers raise whatever the format's plugin happens to trip over
        return "image_unreadable"
    size = (height, width) if sideways else (width, height)
    return size if plausible_size(*size) else "image_huge"


def read_index_png(path: Path) -> np.ndarray | None:
    """The class index of each pixel, (height, width) uint8; None when the file has colours or can't be read.

    Pillow, because cv2 turns a palette's indices into colours.
    """
    return _pixels(path, ("L", "P", "1"))


def read_color_png(path: Path) -> np.ndarray | None:
    """(height, width, 3) uint8 in the order red, green, blue; None when the file is of another kind."""
    return _pixels(path, ("RGB",))


def _pixels(path: Path, modes: tuple[str, ...]) -> np.ndarray | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return np.array(image, dtype=np.uint8) if image.mode in modes else None
    except Exception:  # as above
        return None
