"""COCO's evaluation on faster-coco-eval: the same numbers as pycocotools, and nothing on the console."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from trainer.core.errors import DatasetError, did_you_mean
from trainer.engine.metrics.matching import Overlaps

logger = logging.getLogger("trainer")

# COCO's crowd annotations are drawn loosely; this is the share of its box that a body fills on average.
BOX_FILL = 0.53


def load_ground_truth(ann_file: str | Path) -> COCO:
    """The annotations of a COCO file, with what the evaluation needs filled in where the file leaves it out.

    Raises:
        DatasetError: the file is missing or is no COCO file.
    """
    try:
        coco = COCO(str(ann_file), print_function=logger.debug)
        for annotation in coco.dataset["annotations"]:
            _, _, width, height = annotation["bbox"]
            annotation.setdefault("iscrowd", 0)
            annotation.setdefault("area", width * height * (BOX_FILL if "keypoints" in annotation else 1.0))
            if "keypoints" in annotation:
                annotation.setdefault("num_keypoints", int(np.count_nonzero(annotation["keypoints"][2::3])))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{ann_file}: can't be read as a COCO annotation file ({error!r})") from error
    return coco


def category_ids(coco: COCO, classes: Sequence[str], ann_file: str | Path) -> list[int]:
    """The category id of each class, by name, in the order of the model's labels.

    Raises:
        DatasetError: the annotation file doesn't know a class.
    """
    ids = {category["name"]: category["id"] for category in coco.dataset["categories"]}
    for name in classes:
        if name not in ids:
            raise DatasetError(f"{ann_file}: no category is called {name!r}.{did_you_mean(name, ids)}")
    return [ids[name] for name in classes]


@dataclass(frozen=True)
class CocoScores:
    """What COCO's evaluation counted; -1 where there is no ground truth.

    ``precision`` has the shape (IoU thresholds, recall thresholds, categories, areas, detection limits), ``recall``
    the same without the recall thresholds. ``categories`` are sorted. ``overlaps`` is what was compared, None where
    there was nothing.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    areas: tuple[str, ...]
    categories: tuple[int, ...]
    overlaps: Overlaps | None = None

    def ap(self, iou: float | None = None, area: str = "all", category: int | None = None) -> float | None:
        """Average precision from 0 to 1 over all IoU thresholds or at one; None where nothing could be found."""
        if area not in self.areas or not self.precision.size:
            return None
        values = self.precision[:, :, :, self.areas.index(area), -1]
        if iou is not None:
            values = values[np.isclose(self.thresholds, iou)]
        if category is not None:
            values = values[:, :, self.categories.index(category)]
        return _defined_mean(values)

    def precision_curve(self, iou: float, category: int) -> np.ndarray | None:
        """Precision (101,) at the recalls 0, 0.01, ... 1; None for a category without ground truth."""
        if not self.precision.size:
            return None
        level = int(np.flatnonzero(np.isclose(self.thresholds, iou))[0])
        place = self.categories.index(category)
        curve = self.precision[level, :, place, self.areas.index("all"), -1]
        return curve if (curve > -1).all() else None

    def ar(self) -> float | None:
        """Average recall from 0 to 1 at the largest number of detections; None where nothing could be found."""
        return _defined_mean(self.recall[:, :, self.areas.index("all"), -1]) if self.recall.size else None


def evaluate_coco(
    coco: COCO,
    detections: list[dict[str, Any]],
    kind: str,
    *,
    images: Iterable[int],
    categories: Iterable[int],
    sigmas: np.ndarray | None = None,
) -> CocoScores:
    """Evaluate detections in COCO's result format on some images.

    Args:
        coco: the ground truth.
        detections: dicts with image_id, category_id, score and bbox (x, y, w, h in px), segmentation or keypoints.
        kind: ``bbox``, ``segm`` or ``keypoints``.
        images: ids of the images to count; the others' ground truth isn't missed.
        categories: ids of the categories to count.
        sigmas: keypoints: the falloff of each point (K,).

    Raises:
        DatasetError: a detection's image is not in the ground truth.
    """
    images, categories = sorted(set(images)), sorted(set(categories))
    unknown = [image for image in images if image not in coco.imgs]
    if unknown:
        raise DatasetError(
            f"the evaluator's annotation file doesn't have {len(unknown)} of the evaluated images (ids "
            f"{', '.join(map(str, unknown[:5]))}); its ann_file must be that of the validation data set"
        )
    found = coco.loadRes(detections)
    evaluation = COCOeval_faster(
        coco,
        found,
        kind,
        print_function=logger.debug,
        kpt_oks_sigmas=sigmas,
    )
    evaluation.params.imgIds = images
    evaluation.params.catIds = categories
    areas = tuple(evaluation.params.areaRngLbl)
    thresholds = np.asarray(evaluation.params.iouThrs)
    if not images or not categories:  # An empty list means "all" to COCO.
        return CocoScores(np.empty(0), np.empty(0), thresholds, areas, tuple(categories))
    evaluation.evaluate()
    evaluation.accumulate()
    return CocoScores(
        np.asarray(evaluation.eval["precision"]),
        np.asarray(evaluation.eval["recall"]),
        thresholds,
        areas,
        tuple(categories),
        Overlaps(
            coco,
            found,
            kind,
            tuple(images),
            tuple(categories),
            evaluation.ious,
            evaluation.params.maxDets[-1],
        ),
    )


def _defined_mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
