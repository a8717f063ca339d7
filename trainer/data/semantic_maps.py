"""Semantic segmentation: polygons, RLE and index masks -> one class index a pixel.

Policy: what no object covers is ``background``, class 0; objects are painted from the largest to the smallest, so a
small one on a large one stays visible; 255 is ignored. Where every image brings its own mask and a class has id 0,
there is no background class: the masks say what each pixel is. ``dataset.background=ignore`` makes uncovered pixels
255 and leaves the background class out; ``=class`` puts it in whatever the masks say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.data.files import read_index_png
from trainer.data.geometry import segmentation_mask
from trainer.data.records import ImageRecord, Problems, Records

BACKGROUND = "background"
IGNORED = 255


@dataclass(frozen=True)
class MapPlan:
    """Class names by index, the index of label 0, of each value found in index masks, and of what nothing covers."""

    classes: tuple[str, ...]
    first: int
    values: dict[int, int]
    uncovered: int


def plan(records: Records, problems: Problems) -> MapPlan:
    """How this data set's labels become index values."""
    ids = [str(category.original_id) for category in records.categories]
    masked = bool(records.images) and all(image.mask for image in records.images)
    if records.background == "auto":
        first = 0 if masked and "0" in ids else 1
    else:
        first = 1 if records.background == "class" else 0
    names = tuple(category.name for category in records.categories)
    values = dict.fromkeys(records.ignored, IGNORED) | {IGNORED: IGNORED}
    values |= {0: 0} if first else {0: IGNORED}
    values |= {int(i): label + first for label, i in enumerate(ids) if i.isascii() and i.isdigit()}
    if len(names) + first > IGNORED:
        problems.error(
            f"semantic segmentation can hold {IGNORED - 1} classes and background; there are {len(names)}"
        )
    return MapPlan((BACKGROUND, *names) if first else names, first, values, 0 if first else IGNORED)


def index_map(image: ImageRecord, how: MapPlan, problems: Problems) -> np.ndarray | None:
    """(height, width) uint8 of class indices, or None after noting the mistake."""
    if image.mask is not None:
        return _from_mask(image, how, problems)
    canvas = np.full((image.height, image.width), how.uncovered, np.uint8)
    # The order must not depend on the file's, or the same data would give different maps.
    for annotation in sorted(
        image.annotations, key=lambda annotation: (-annotation.area, annotation.label, annotation.bbox)
    ):
        if annotation.segmentation:
            canvas[segmentation_mask(annotation.segmentation, image.height, image.width)] = (
                annotation.label + how.first
            )
    return canvas


def _from_mask(image: ImageRecord, how: MapPlan, problems: Problems) -> np.ndarray | None:
    assert image.mask is not None
    found = read_index_png(image.mask)
    if found is None:
        problems.error("mask files that are not indexed or grey PNGs", image.mask.name)
        return None
    if found.shape != (image.height, image.width):
        size = f"{found.shape[1]} x {found.shape[0]}, image {image.width} x {image.height}"
        problems.error("masks of another size than their image", f"{image.mask.name}: {size}")
        return None
    table = np.full(256, -1, np.int16)
    for value, index in how.values.items():
        if 0 <= value < 256:
            table[value] = index
    mapped = table[found]
    if (mapped < 0).any():
        strange = sorted(set(found[mapped < 0].tolist()))
        problems.error("masks with values that are no class id", f"{image.mask.name}: {strange[:5]}")
        return None
    return mapped.astype(np.uint8)
