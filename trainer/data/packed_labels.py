"""Pictures of large data sets: their labels are kept as bytes, about 70 for a box instead of 500 as objects."""

from __future__ import annotations

import marshal
from collections.abc import Sequence

from trainer.data.records import Annotation, ImageRecord


class PackedImage(ImageRecord):
    """A picture whose ``items`` are made anew from bytes whenever they are asked for.

    They come as a tuple: what is changed must be assigned (``picture.items = [...]``) to last.
    """

    __slots__ = ("_packed",)

    @property  # type: ignore[override]
    def items(self) -> Sequence[Annotation]:
        return tuple([Annotation(*values) for values in marshal.loads(self._packed)])

    @items.setter
    def items(self, items: Sequence[Annotation]) -> None:
        self._packed = marshal.dumps(_values(items))


def add(picture: ImageRecord, items: list[Annotation]) -> None:
    """Put ``items`` behind those that a picture has."""
    if isinstance(picture, PackedImage):
        picture._packed = marshal.dumps(marshal.loads(picture._packed) + _values(items))
    else:
        picture.items += items


def _values(items: Sequence[Annotation]) -> list[tuple[object, ...]]:
    return [(i.label, i.bbox, i.area, i.iscrowd, i.segmentation, i.keypoints, i.original_id) for i in items]
