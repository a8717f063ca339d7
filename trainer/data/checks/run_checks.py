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
    """Compare the files with the annotations; pictures that can't be used leave ``records``.

    Returns:
        A content digest of each picture whose bytes another one may have, by its path.
    """
    facts = facts_of((_path(picture) for picture in records.pictures), records.root)
    kept = []
    for picture in records.pictures:
        found = facts.get(_path(picture))
        if found is None:
            problems.error("image files that are not there any more", picture.name, "image_missing")
        elif found.fault:
            problems.error(_FAULTS[found.fault], picture.name, found.fault)
        elif _sized(picture, found, problems):
            kept.append(picture)
    records.pictures = kept
    return {path: found.whole for path, found in facts.items() if found.whole}


def check_labels(records: Records, problems: Problems) -> None:
    """Objects that are there twice, and keypoints far from their box."""
    for picture in records.pictures:
        seen: dict[object, list[Annotation]] = {}
        items = picture.items
        kept = []
        for item in items:
            like = seen.setdefault((item.label, item.bbox), [])
            if any((o.segmentation, o.keypoints) == (item.segmentation, item.keypoints) for o in like):
                problems.note(
                    "objects labelled twice", f"{picture.name}#{item.original_id}", "annotation_twice"
                )
                if problems.remedy("annotation_twice"):
                    continue
            like.append(item)
            kept.append(item)
            if item.keypoints and _strays(item):
                where = f"{picture.name}#{item.original_id}"
                problems.note("keypoints outside their box", where, "keypoint_outside")
        if len(kept) < len(items):
            picture.items = kept


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
    for name, pictures in splits.items():
        shown = Counter(item.label for picture in pictures for item in picture.items)
        masked = any(picture.mask for picture in pictures)
        if pictures and not shown and not masked:
            problems.note(
                f"no object is labelled in {name}, so its metrics will be empty", rule="split_unlabelled"
            )
        elif pictures and not masked:
            for label, category in enumerate(records.categories):
                if not shown[label]:
                    problems.note(f"classes without an object in {name}", category.name, "category_empty")
    if dataset.group_by:
        for group, names in straddling(splits, dataset.group_by).items():
            if splits["val"] is not splits["train"]:
                problems.note("groups in several splits", f"{group}: {', '.join(names)}", "group_parted")


def _sized(picture: ImageRecord, found: ImageFacts, problems: Problems) -> bool:
    """Whether a picture may stay: its size is right, or was put right."""
    size = (found.width, found.height)
    if size == (0, 0) or size == (picture.width, picture.height):
        return True
    told = f"{picture.name}: {picture.width} x {picture.height}, file {size[0]} x {size[1]}"
    turned = size == (picture.height, picture.width)
    text = "images whose file has another size than the annotations state"
    problems.error(f"{text} (turned)" if turned else text, told, "size_differs")
    remedy = problems.remedy("size_differs")
    if remedy is None or "left out" in remedy:
        return False
    picture.width, picture.height = size
    picture.items = [item for item in picture.items if _cut_to(item, size, picture.name, problems)]
    return True


def _cut_to(item: Annotation, size: tuple[int, int], name: str, problems: Problems) -> bool:
    """Put an object into a picture of ``size``; False where nothing of it is inside, or its mask is of another size."""
    box = clip_box(item.bbox, *size)
    if box is None or isinstance(item.segmentation, dict):
        problems.note(
            "labels outside the file's size left out", f"{name}#{item.original_id}", "box_degenerate"
        )
        return False
    item.bbox = box
    if item.segmentation:
        item.segmentation = [
            [min(n, size[i % 2]) for i, n in enumerate(polygon)] for polygon in item.segmentation
        ]
    return True


def _strays(item: Annotation) -> bool:
    x, y, w, h = item.bbox
    slack = _POINT_SLACK * max(w, h)
    points = item.keypoints or []
    return any(
        seen and not (x - slack <= px <= x + w + slack and y - slack <= py <= y + h + slack)
        for px, py, seen in zip(points[::3], points[1::3], points[2::3], strict=True)
    )


def _path(picture: ImageRecord) -> str:
    return os.path.join(picture.root, picture.file_name)


def _content(picture: ImageRecord, digests: dict[str, str]) -> object:
    """What is equal for pictures of equal bytes; no new text for each of a million."""
    return digests.get(_path(picture)) or (picture.root, picture.file_name)


def _separate(splits: dict[str, list[ImageRecord]], digests: dict[str, str], problems: Problems) -> bool:
    """Say so where validation holds nothing that isn't trained on; whether that is the case."""
    train = {_content(picture, digests) for picture in splits["train"]}
    if not splits["val"] or not all(_content(picture, digests) in train for picture in splits["val"]):
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
        for picture in splits.get(split, ()):
            content = _content(picture, digests)
            other = next((name for name, pictures in held.items() if content in pictures), None)
            if other is not None:
                text = f"images of {split} that {other} has, too" + (f"; {remedy}" if remedy else "")
                problems.note(text, f"{picture.name} = {held[other][content].name}", "leak")
                if remedy:
                    continue
            elif content in here:
                example = f"{picture.name} = {here[content].name}"
                problems.note(f"images of {split} with equal bytes", example, "same_content")
            here.setdefault(content, picture)
            kept.append(picture)
        held[split] = here
        if split in splits:
            splits[split] = kept
