"""What each task needs of its labels: objects that can't teach it are left out, and a data set of none is refused."""

from __future__ import annotations

from collections.abc import Callable

from trainer.data.records import Annotation, Problems, Records


def filter_for_task(records: Records, task: str, problems: Problems) -> None:
    """Leave in ``records`` what ``task`` learns from and nothing else, with remarks and mistakes in ``problems``."""
    if not records.pictures or not records.categories:
        return  # said already, and everything below would only repeat it
    labelled = any(picture.items for picture in records.pictures)
    refused = f"no annotation in {records.source} has %s, which task={task} needs"
    if task == "detection":
        if not labelled:
            problems.error(refused % "a bbox, or a segmentation or keypoints to take it from")
    elif task == "pose":
        if not _any(records, lambda item: item.keypoints):
            problems.error(refused % "keypoints")
            return
        _keep(records, "annotations without keypoints left out", problems, lambda item: bool(item.keypoints))
        _keep_used_categories(records, problems)
    elif _any(records, lambda item: item.segmentation) or _masked(records, task):
        remark = "annotations without segmentation left out"
        _keep(records, remark, problems, lambda item: bool(item.segmentation))
    else:
        semantic = " or a mask_file" if task == "semantic_segmentation" else ""
        problems.error(refused % f"a segmentation (polygons or RLE){semantic}")
    for picture in records.pictures:
        items = picture.items
        for item in items:
            if not task.endswith("segmentation"):
                item.segmentation = None
            if task != "pose":
                item.keypoints = None
        picture.items = items


def _any(records: Records, has: Callable[[Annotation], object]) -> bool:
    return any(has(item) for picture in records.pictures for item in picture.items)


def _masked(records: Records, task: str) -> bool:
    return task == "semantic_segmentation" and any(picture.mask for picture in records.pictures)


def _keep(records: Records, remark: str, problems: Problems, wanted: Callable[[Annotation], bool]) -> None:
    for picture in records.pictures:
        items = picture.items
        for item in items:
            if not wanted(item):
                problems.note(remark, f"{picture.name}#{item.original_id}")
        picture.items = [item for item in items if wanted(item)]


def _keep_used_categories(records: Records, problems: Problems) -> None:
    """Pose: classes whose objects have no keypoints would be heads that nothing teaches."""
    used = sorted({item.label for picture in records.pictures for item in picture.items})
    if len(used) == len(records.categories):
        return
    left_out = [c.name for i, c in enumerate(records.categories) if i not in used]
    problems.note(f"classes without keypoints left out: {', '.join(left_out)}")
    records.categories = [records.categories[i] for i in used]
    renumbered = {old: new for new, old in enumerate(used)}
    for picture in records.pictures:
        items = picture.items
        for item in items:
            item.label = renumbered[item.label]
        picture.items = items
