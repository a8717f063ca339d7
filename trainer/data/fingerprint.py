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
    """SHA-256 (hex) over classes, keypoint set, and each split's pictures with their labels.

    A picture counts by its name in the data set, its size and its labels; folders, ids, the order of pictures and of
    labels and the pixels don't. ``mask_digests`` stands for index masks, by ``<split>/<file_name>``.
    """
    whole = hashlib.sha256(orjson.dumps([classes, keypoints]))
    for name in sorted(splits):
        digests = sorted(_picture(p, mask_digests.get(f"{name}/{p.file_name}")) for p in splits[name])
        whole.update(orjson.dumps([name, digests]))
    return whole.hexdigest()


def _picture(picture: ImageRecord, mask_digest: str | None) -> str:
    items = sorted(orjson.dumps(_item(item)) for item in picture.items)
    name = picture.name.removeprefix("images/")
    head = orjson.dumps([name, picture.width, picture.height, mask_digest])
    return hashlib.sha256(head + b"\n".join(items)).hexdigest()


def _item(item: Annotation) -> list[object]:
    segmentation: object = item.segmentation
    if isinstance(item.segmentation, list):
        segmentation = sorted([round(n, 2) for n in polygon] for polygon in item.segmentation)
    elif isinstance(item.segmentation, dict):
        segmentation = [item.segmentation["size"], item.segmentation["counts"]]
    points = item.keypoints and [round(n, 2) for n in item.keypoints]
    return [
        item.label,
        [round(n, 2) for n in item.bbox],
        round(item.area, 2),
        item.iscrowd,
        segmentation,
        points,
    ]
