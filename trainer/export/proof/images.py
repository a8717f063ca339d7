"""The images that an export is proven on: the run's validation split, a folder, or photographs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.errors import DatasetError
from trainer.export.proof.run_exported import Look
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample, find_images, split_samples

SEEN = 8
"""How many images, or boxes of them, outputs are compared on."""


def looks_of(predictor: Predictor, source: str | None, folder: Path) -> tuple[list[Look], str]:
    """Up to ``SEEN`` images (top-down pose: boxes), and where they are from, in words.

    Args:
        source: images, a folder or a glob; None for the validation split. Where the run's data isn't here, two of
            scikit-learn's photographs are cut into pieces.
        folder: where those are written.

    Raises:
        DatasetError: ``source`` has no images.
    """
    if source is not None:
        return [Look(path) for path in find_images(source)[:SEEN]], f"images of {source}"
    samples = split_samples(predictor.config, "val", predictor.task, predictor.classes)
    try:
        chosen: list[Sample] = list(islice(samples, SEEN))
    except DatasetError:
        chosen = []
    looks = [look for sample in chosen for look in _looks(sample, predictor)][:SEEN]
    if looks and all(look.image.is_file() for look in looks):
        return looks, "validation images"
    return [
        Look(path) for path in _photographs(folder)
    ], "photographs, since the run's validation images are not here"


def calibration_looks(predictor: Predictor, count: int) -> list[Look]:
    """Images of the training split, spread over it; of validation where that has none.

    Raises:
        DatasetError: the run's data is not here.
    """
    found: list[Sample] = []
    for split in ("train", "val"):
        try:
            found = list(split_samples(predictor.config, split, predictor.task, predictor.classes))
        except DatasetError:
            if split == "val":
                raise DatasetError(
                    "int8=true: the run's images, which the ranges are measured on, are not here any more"
                ) from None
        if found:
            break
    looks = [look for sample in spread(found, count) for look in _looks(sample, predictor)]
    return list(spread(looks, count))


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of the items, evenly over all of them."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def _looks(sample: Sample, predictor: Predictor) -> list[Look]:
    path = Path(str(sample.image))
    # Annotated people have boxes for a bottom-up pose model, too, which looks at the whole image.
    if sample.boxes is None or not predictor.top_down:
        return [Look(path)]
    return [Look(path, tuple(float(side) for side in box)) for box in sample.boxes]


def _photographs(folder: Path) -> list[Path]:
    import cv2

    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise DatasetError(
            f"the run's validation images are not here, and scikit-learn's can't be loaded ({error}); "
            "images=<folder> names some"
        ) from error
    paths = []
    for number, photo in enumerate(load_sample_images().images):
        height, width = photo.shape[:2]
        for part in range(SEEN // 2):
            left = part * width // SEEN
            paths.append(folder / f"photograph-{number}-{part}.png")
            cv2.imwrite(str(paths[-1]), photo[: height - 20 * part, left : left + width // 2, ::-1])
    return paths
