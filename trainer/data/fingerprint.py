"""One number for what a data set teaches: equal on every machine, whatever the files' order and place."""

from __future__ import annotations

import hashlib

import orjson

from trainer.data.bundle import Keypoints
from trainer.data.records import Annotation, ImageRecord


def fingerprint(
    classes: tuple[str, ...],
    keypoints: Keypoints | None,
    splits: dict[str, list[ImageRecord]],
    mask_digests: dict[str, str],
) -> str:
    """SHA-256 (hex) over classes, keypoint set, and each split's images with their labels.

    A image counts by its name in the data set, its size and its labels; folders, ids, the order of images and of
    labels and the pixels don't. ``mask_digests`` stands for index masks, by ``<split>/<file_name>``.
    """
    whole = hashlib.sha256(orjson.dumps([classes, keypoints]))
    for name in sorted(splits):
        digests = sorted(_image_digest(p, mask_digests.get(f"{name}/{p.file_name}")) for p in splits[name])
        whole.update(orjson.dumps([name, digests]))
    return whole.hexdigest()


def _image_digest(image: ImageRecord, mask_digest: str | None) -> str:
    annotations = sorted(orjson.dumps(_annotation_values(annotation)) for annotation in image.annotations)
    name = image.name.removeprefix("images/")
    head = orjson.dumps([name, image.width, image.height, mask_digest])
    return hashlib.sha256(head + b"\n".join(annotations)).hexdigest()


def _annotation_values(annotation: Annotation) -> list[object]:
    segmentation: object = annotation.segmentation
    if isinstance(annotation.segmentation, list):
        segmentation = sorted([round(n, 2) for n in polygon] for polygon in annotation.segmentation)
    elif isinstance(annotation.segmentation, dict):
        segmentation = [annotation.segmentation["size"], annotation.segmentation["counts"]]
    points = annotation.keypoints and [round(n, 2) for n in annotation.keypoints]
    return [
        annotation.label,
        [round(n, 2) for n in annotation.bbox],
        round(annotation.area, 2),
        annotation.iscrowd,
        segmentation,
        points,
    ]
