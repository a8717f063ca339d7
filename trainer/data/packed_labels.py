"""Images of large data sets: their labels are kept as bytes, about 70 for a box instead of 500 as objects."""

from __future__ import annotations

import marshal
from collections.abc import Sequence

from trainer.data.records import Annotation, ImageRecord


class PackedImage(ImageRecord):
    """A image whose ``items`` are made anew from bytes whenever they are asked for.

    They come as a tuple: what is changed must be assigned (``image.items = [...]``) to last.
    """

    __slots__ = ("_packed",)

    @property  # type: ignore[override]
    def annotations(self) -> Sequence[Annotation]:
        return tuple([Annotation(*values) for values in marshal.loads(self._packed)])

    @annotations.setter
    def annotations(self, annotations: Sequence[Annotation]) -> None:
        self._packed = marshal.dumps(_values(annotations))


def add(image: ImageRecord, annotations: list[Annotation]) -> None:
    """Put ``items`` behind those that a image has."""
    if isinstance(image, PackedImage):
        image._packed = marshal.dumps(marshal.loads(image._packed) + _values(annotations))
    else:
        image.annotations += annotations


def _values(annotations: Sequence[Annotation]) -> list[tuple[object, ...]]:
    return [
        (i.label, i.bbox, i.area, i.iscrowd, i.segmentation, i.keypoints, i.original_id) for i in annotations
    ]
