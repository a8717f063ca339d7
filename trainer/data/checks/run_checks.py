"""The checks that need no format: files before the split is made, labels and splits after."""

from __future__ import annotations

import os
from collections import Counter

from trainer.data.checks.image_files import ImageFacts, facts_of
from trainer.data.geometry import clip_box
from trainer.data.records import Annotation, ImageRecord, Problems, Records
from trainer.data.splits import straddling
from trainer.schema import Dataset

_FAULTS = {
    "image_unreadable": "image files that OpenCV can't read",
    "image_huge": "images of more pixels than can be read",
    "image_cut": "image files that end too early",
}
_POINT_SLACK = 0.1  # of the longer side of a box


def check_files(records: Records, problems: Problems) -> dict[str, str]:
    """Compare the files with the annotations; images that can't be used leave ``records``.

    Returns:
        A content digest of each image whose bytes another one may have, by its path.
    """
    facts = facts_of((_path(image) for image in records.images), records.root)
    kept = []
    for image in records.images:
        found = facts.get(_path(image))
        if found is None:
            problems.error("image files that are not there any more", image.name, "image_missing")
        elif found.fault:
            problems.error(_FAULTS[found.fault], image.name, found.fault)
        elif _sized(image, found, problems):
            kept.append(image)
    records.images = kept
    return {path: found.whole for path, found in facts.items() if found.whole}


def check_labels(records: Records, problems: Problems) -> None:
    """Objects that are there twice, and keypoints far from their box."""
    for image in records.images:
        seen: dict[object, list[Annotation]] = {}
        annotations = image.annotations
        kept = []
        for annotation in annotations:
            like = seen.setdefault((annotation.label, annotation.bbox), [])
            if any(
                (o.segmentation, o.keypoints) == (annotation.segmentation, annotation.keypoints) for o in like
            ):
                problems.note(
                    "objects labelled twice", f"{image.name}#{annotation.original_id}", "annotation_twice"
                )
                if problems.remedy("annotation_twice"):
                    continue
            like.append(annotation)
            kept.append(annotation)
            if annotation.keypoints and _strays(annotation):
                where = f"{image.name}#{annotation.original_id}"
                problems.note("keypoints outside their box", where, "keypoint_outside")
        if len(kept) < len(annotations):
            image.annotations = kept


def check_splits(
    records: Records,
    splits: dict[str, list[ImageRecord]],
    digests: dict[str, str],
    dataset: Dataset,
    problems: Problems,
) -> None:
    """Copies within and across splits, and classes, labels and groups that a split lacks or shares."""
    if splits.get("val") is splits.get("train"):
        pass  # said where it was decided
    elif not _separate(splits, digests, problems):
        _copies(splits, digests, problems)
    for name, images in splits.items():
        shown = Counter(annotation.label for image in images for annotation in image.annotations)
        masked = any(image.mask for image in images)
        if images and not shown and not masked:
            problems.note(
                f"no object is labelled in {name}, so its metrics will be empty", rule="split_unlabelled"
            )
        elif images and not masked:
            for label, category in enumerate(records.categories):
                if not shown[label]:
                    problems.note(f"classes without an object in {name}", category.name, "category_empty")
    if dataset.group_by:
        for group, names in straddling(splits, dataset.group_by).items():
            if splits["val"] is not splits["train"]:
                problems.note("groups in several splits", f"{group}: {', '.join(names)}", "group_parted")


def _sized(image: ImageRecord, found: ImageFacts, problems: Problems) -> bool:
    """Whether a image may stay: its size is right, or was put right."""
    size = (found.width, found.height)
    if size == (0, 0) or size == (image.width, image.height):
        return True
    told = f"{image.name}: {image.width} x {image.height}, file {size[0]} x {size[1]}"
    turned = size == (image.height, image.width)
    text = "images whose file has another size than the annotations state"
    problems.error(f"{text} (turned)" if turned else text, told, "size_differs")
    remedy = problems.remedy("size_differs")
    if remedy is None or "left out" in remedy:
        return False
    image.width, image.height = size
    image.annotations = [
        annotation for annotation in image.annotations if _cut_to(annotation, size, image.name, problems)
    ]
    return True


def _cut_to(annotation: Annotation, size: tuple[int, int], name: str, problems: Problems) -> bool:
    """Put an object into a image of ``size``; False where nothing of it is inside, or its mask is of another size."""
    box = clip_box(annotation.bbox, *size)
    if box is None or isinstance(annotation.segmentation, dict):
        problems.note(
            "labels outside the file's size left out", f"{name}#{annotation.original_id}", "box_degenerate"
        )
        return False
    annotation.bbox = box
    if annotation.segmentation:
        annotation.segmentation = [
            [min(n, size[i % 2]) for i, n in enumerate(polygon)] for polygon in annotation.segmentation
        ]
    return True


def _strays(annotation: Annotation) -> bool:
    x, y, w, h = annotation.bbox
    slack = _POINT_SLACK * max(w, h)
    points = annotation.keypoints or []
    return any(
        seen and not (x - slack <= px <= x + w + slack and y - slack <= py <= y + h + slack)
        for px, py, seen in zip(points[::3], points[1::3], points[2::3], strict=True)
    )


def _path(image: ImageRecord) -> str:
    return os.path.join(image.root, image.file_name)


def _content(image: ImageRecord, digests: dict[str, str]) -> object:
    """What is equal for images of equal bytes; no new text for each of a million."""
    return digests.get(_path(image)) or (image.root, image.file_name)


def _separate(splits: dict[str, list[ImageRecord]], digests: dict[str, str], problems: Problems) -> bool:
    """Say so where validation holds nothing that isn't trained on; whether that is the case."""
    train = {_content(image, digests) for image in splits["train"]}
    if not splits["val"] or not all(_content(image, digests) in train for image in splits["val"]):
        return False
    problems.note(
        "every image of val is in train, too: its metrics say nothing about other images", rule="val_is_train"
    )
    return True


def _copies(splits: dict[str, list[ImageRecord]], digests: dict[str, str], problems: Problems) -> None:
    """Equal images; under a remedy those of a later split leave it."""
    held: dict[str, dict[object, ImageRecord]] = {}
    remedy = problems.remedy("leak")
    for split in ("test", "val", "train"):
        here: dict[object, ImageRecord] = {}
        kept = []
        for image in splits.get(split, ()):
            content = _content(image, digests)
            other = next((name for name, images in held.items() if content in images), None)
            if other is not None:
                text = f"images of {split} that {other} has, too" + (f"; {remedy}" if remedy else "")
                problems.note(text, f"{image.name} = {held[other][content].name}", "leak")
                if remedy:
                    continue
            elif content in here:
                example = f"{image.name} = {here[content].name}"
                problems.note(f"images of {split} with equal bytes", example, "same_content")
            here.setdefault(content, image)
            kept.append(image)
        held[split] = here
        if split in splits:
            splits[split] = kept
