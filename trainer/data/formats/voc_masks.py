"""``SegmentationObject`` with ``SegmentationClass``: an RLE mask an object."""

from __future__ import annotations

import numpy as np

from trainer.data.files import Folder, read_index_png
from trainer.data.geometry import mask_rle
from trainer.data.labels import read_annotation
from trainer.data.records import ImageRecord, Problems, Records

_VOID = 255  # the outline that VOC draws around each object


def instances(records: Records, folder: Folder, objects: str, problems: Problems) -> None:
    """Turn each image's class mask, and the object mask of the same name in ``objects``, into items."""
    labels = {int(c.original_id): i for i, c in enumerate(records.categories)}
    for image in records.images:
        assert image.mask is not None
        name = f"{objects}/{image.original_id}.png"
        lacking = folder.lacks(name)
        if lacking:
            problems.error(f"object masks {lacking}", name)
            continue
        masks = [read_index_png(path) for path in (image.mask, folder.root / name)]
        if any(mask is None or mask.shape != (image.height, image.width) for mask in masks):
            problems.error("masks that are no indexed PNG of their image's size", name)
            continue
        classes, numbers = (mask for mask in masks if mask is not None)
        image.mask = None
        _add(image, classes, numbers, labels, name, problems)


def _add(
    image: ImageRecord,
    classes: np.ndarray,
    numbers: np.ndarray,
    labels: dict[int, int],
    name: str,
    problems: Problems,
) -> None:
    for number in np.unique(numbers).tolist():
        if number in (0, _VOID):
            continue
        mask = numbers == number
        values, counts = np.unique(classes[mask], return_counts=True)
        ranked = [v for _, v in sorted(zip(-counts, values.tolist(), strict=True)) if v not in (0, _VOID)]
        label = labels.get(ranked[0]) if ranked else None
        where = f"{name}, object {number}"
        if label is None:
            problems.error(
                "objects of a class that is not declared",
                f"{where}: value {ranked[:1] or 0}",
                "category_unknown",
            )
            continue
        raw = {"id": number, "area": int(mask.sum()), "segmentation": mask_rle(mask)}
        annotation = read_annotation(raw, label, image, where, problems)
        if annotation is not None:
            image.annotations.append(annotation)
