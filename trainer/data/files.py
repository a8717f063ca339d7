"""Reading what a data set's folder holds: JSON with a position in its errors, image sizes, names that stay inside."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from trainer.data.records import Problems

_SIDEWAYS = range(5, 9)  # EXIF orientations that swap width and height, which cv2 does when it reads the file
_DRIVE = re.compile(r"^[A-Za-z]:")


def parse_json(content: bytes, path: Path, problems: Problems) -> dict[str, Any] | None:
    """The object in an annotation file, or None after noting the mistake with its line and column."""
    try:
        document = orjson.loads(content)
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
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    name = name.replace("\\", "/")
    clean = posixpath.normpath(name)
    if name.startswith("/") or _DRIVE.match(name) or clean in (".", "..") or clean.startswith("../"):
        return None
    return clean


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the image's header, as cv2 would read it (EXIF turned); None when it is no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if image.getexif().get(274) in _SIDEWAYS else (width, height)
    except (OSError, ValueError, SyntaxError):
        return None


def read_index_png(path: Path) -> np.ndarray | None:
    """The class index of each pixel, (height, width) uint8; None when the file has colours or can't be read.

    Pillow, because cv2 turns a palette's indices into colours.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "1"):
                return None
            return np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError):
        return None
