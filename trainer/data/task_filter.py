"""What each task needs of its labels: objects that can't teach it are left out, and a data set of none is refused."""

from __future__ import annotations

from collections.abc import Callable

from trainer.data.records import Annotation, Problems, Records


def filter_for_task(records: Records, task: str, problems: Problems) -> None:
    """Leave in ``records`` what ``task`` learns from and nothing else, with remarks and mistakes in ``problems``."""
    if not records.images or not records.categories:
        return  # said already, and everything below would only repeat it
    labelled = any(image.annotations for image in records.images)
    refused = f"no annotation in {records.source} has %s, which task={task} needs"
    if task == "detection":
        if not labelled:
            problems.error(refused % "a bbox, or a segmentation or keypoints to take it from")
    elif task == "pose":
        if not _any(records, lambda annotation: annotation.keypoints):
            problems.error(refused % "keypoints")
            return
        _keep(
            records,
            "annotations without keypoints left out",
            problems,
            lambda annotation: bool(annotation.keypoints),
        )
        _keep_used_categories(records, problems)
    elif _any(records, lambda annotation: annotation.segmentation) or _masked(records, task):
        remark = "annotations without segmentation left out"
        _keep(records, remark, problems, lambda annotation: bool(annotation.segmentation))
    else:
        semantic = " or a mask_file" if task == "semantic_segmentation" else ""
        problems.error(refused % f"a segmentation (polygons or RLE){semantic}")
    for image in records.images:
        annotations = image.annotations
        for annotation in annotations:
            if not task.endswith("segmentation"):
                annotation.segmentation = None
            if task != "pose":
                annotation.keypoints = None
        image.annotations = annotations


def _any(records: Records, has: Callable[[Annotation], object]) -> bool:
    return any(has(annotation) for image in records.images for annotation in image.annotations)


def _masked(records: Records, task: str) -> bool:
    return task == "semantic_segmentation" and any(image.mask for image in records.images)


def _keep(records: Records, remark: str, problems: Problems, wanted: Callable[[Annotation], bool]) -> None:
    for image in records.images:
        annotations = image.annotations
        for annotation in annotations:
            if not wanted(annotation):
                problems.note(remark, f"{image.name}#{annotation.original_id}")
        image.annotations = [annotation for annotation in annotations if wanted(annotation)]


def _keep_used_categories(records: Records, problems: Problems) -> None:
    """Pose: classes whose objects have no keypoints would be heads that nothing teaches."""
    used = sorted({annotation.label for image in records.images for annotation in image.annotations})
    if len(used) == len(records.categories):
        return
    left_out = [c.name for i, c in enumerate(records.categories) if i not in used]
    problems.note(f"classes without keypoints left out: {', '.join(left_out)}")
    records.categories = [records.categories[i] for i in used]
    renumbered = {old: new for new, old in enumerate(used)}
    for image in records.images:
        annotations = image.annotations
        for annotation in annotations:
            annotation.label = renumbered[annotation.label]
        image.annotations = annotations
