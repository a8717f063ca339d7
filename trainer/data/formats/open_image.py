"""A file of the data set's folder -> an image record without annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.data.files import Folder, image_size, lacking_rule
from trainer.data.records import ImageRecord, Problems


def open_image(
    folder: Folder,
    file_name: str,
    problems: Problems,
    *,
    name: str | None = None,
    original_id: Any = None,
    size: tuple[int, int] | None = None,
    mask: Path | None = None,
) -> ImageRecord | None:
    """Return the record of an image below ``folder``, or None after adding an error because it can't be used.

    Args:
        file_name: the file, relative to the folder.
        name: what the data set calls it; by default ``file_name``.
        original_id: its id in the data set; by default ``file_name``.
        size: width and height in px as the data set states them; by default they are read from the file's header.
        mask: its index PNG.
    """
    if reason := folder.lacks(file_name):
        problems.error(f"image files {reason}", file_name, lacking_rule(reason))
        return None
    size = size or image_size(folder.root / file_name)
    if size is None:
        problems.error("image files that can't be read", file_name, "image_unreadable")
        return None
    return ImageRecord(
        original_id=file_name if original_id is None else original_id,
        name=file_name if name is None else name,
        root=folder.root,
        file_name=file_name,
        width=size[0],
        height=size[1],
        mask=mask,
    )
