"""The images that an export is proven on: the run's validation split, a folder, or photographs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.errors import DatasetError
from trainer.export.proof.run_exported import ImageRegion
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample, find_images, split_samples

SEEN = 8
"""The number of images (top-down pose: boxes) that outputs are compared on."""


def proof_images(predictor: Predictor, source: str | None, folder: Path) -> tuple[list[ImageRegion], str]:
    """Up to ``SEEN`` images (top-down pose: boxes), and a phrase that says where they are from.

    Args:
        source: images, a folder or a glob; None for the validation split. If the run's data is missing, pieces of two
            photographs of scikit-learn are used.
        folder: where those pieces are written.

    Raises:
        DatasetError: ``source`` has no images.
    """
    if source is not None:
        return [ImageRegion(path) for path in find_images(source)[:SEEN]], f"images of {source}"
    samples = split_samples(predictor.config, "val", predictor.task, predictor.classes)
    try:
        chosen: list[Sample] = list(islice(samples, SEEN))
    except DatasetError:
        chosen = []
    images = [image for sample in chosen for image in _regions(sample, predictor)][:SEEN]
    if images and all(image.path.is_file() for image in images):
        return images, "validation images"
    return [
        ImageRegion(path) for path in _photographs(folder)
    ], "photographs, since the run's validation images are not here"


def calibration_images(predictor: Predictor, count: int) -> list[ImageRegion]:
    """At most ``count`` images, spread over the training split, or over validation if that has none.

    Raises:
        DatasetError: the run's data is not here.
    """
    samples: list[Sample] = []
    for split in ("train", "val"):
        try:
            samples = list(split_samples(predictor.config, split, predictor.task, predictor.classes))
        except DatasetError:
            if split == "val":
                raise DatasetError(
                    "int8=true: the run's images, which the ranges are measured on, are no longer there"
                ) from None
        if samples:
            break
    images = [image for sample in spread(samples, count) for image in _regions(sample, predictor)]
    return spread(images, count)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of the items, evenly over all of them."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def _regions(sample: Sample, predictor: Predictor) -> list[ImageRegion]:
    path = Path(str(sample.image))
    # Annotated people have boxes for a bottom-up pose model too, which predicts on the whole image.
    if sample.boxes is None or not predictor.top_down:
        return [ImageRegion(path)]
    return [ImageRegion(path, tuple(float(side) for side in box)) for box in sample.boxes]


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
