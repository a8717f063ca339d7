"""Whose JSON file is this? A look at its beginning and end, however large it is."""

from __future__ import annotations

import re
from pathlib import Path

_LOOK = 64 << 10
# Keys that only a DICE document has; an image's own annotations stand near the beginning, too.
_DICE = re.compile(
    rb'"(storage_info|format_version|dataset_id|split_config|class_id|bbox_format|mask_file|classes)"\s*:'
)
_LABELME = re.compile(rb'"shapes"\s*:\s*\[')


def sniff(path: Path) -> str:
    """``labelme``, ``dice``, else ``coco`` for a JSON file that lists images, else an empty text."""
    look = ends(path)
    if _LABELME.search(look):
        return "labelme"
    if _DICE.search(look):
        return "dice"
    return "coco" if re.search(rb'"(images|annotations|categories)"\s*:', look) else ""


def ends(path: Path) -> bytes:
    """The first and the last 64 KB of a file; nothing when it can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
            file.seek(0, 2)
            file.seek(max(len(head), file.tell() - _LOOK))
            return head + b"\n" + file.read(_LOOK)
    except OSError:
        return b""
