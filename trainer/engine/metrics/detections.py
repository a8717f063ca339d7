"""What box and mask metrics share: collecting detections, and naming what COCO's evaluation says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from mmengine.evaluator import BaseMetric

from trainer.core.errors import DatasetError
from trainer.engine.metrics.coco_scores import CocoScores, category_ids, evaluate_coco, load_ground_truth
from trainer.engine.metrics.per_class_names import class_key
from trainer.engine.metrics.pr_curves import Curves, coco_curves, confusion_curves


class DetectionMetrics(BaseMetric):
    """Base of the metrics that read mmdet's ``pred_instances`` and a COCO file.

    Ground truth counts on the images that were validated: all of them, unless a debugging run looks at a few.

    Args:
        ann_file: COCO annotations of the validation split; category names are matched with ``dataset_meta``'s.
        collect_device: where results of several processes meet, ``cpu`` or ``gpu``.

    Raises:
        DatasetError: the annotation file is not there.
    """

    # Not None: mmengine warns about every metric that has no prefix.
    default_prefix = ""

    def __init__(self, ann_file: str | Path, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.curves: Callable[[], Curves] | None = None
        self.ann_file = Path(ann_file)
        if not self.ann_file.is_file():
            raise DatasetError(f"{self.ann_file}: no such annotation file (val_evaluator.ann_file)")

    @cached_property
    def coco(self) -> COCO:
        # Read when first needed: of several processes only the first evaluates.
        return load_ground_truth(self.ann_file)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep each sample's image id, boxes (N, 4) in original pixels, labels (N,), scores (N,) and RLE masks."""
        self.results.extend(self.collect(sample) for sample in data_samples)

    def collect(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        instances = sample["pred_instances"]
        return {
            "image": int(sample["img_id"]),
            "boxes": instances["bboxes"].detach().cpu().numpy().astype(np.float64).reshape(-1, 4),
            "labels": instances["labels"].detach().cpu().numpy(),
            "scores": instances["scores"].detach().cpu().numpy().astype(np.float64),
        }

    def evaluate_boxes(self, results: Sequence[Mapping[str, Any]]) -> CocoScores:
        detections = []
        for result in results:
            # A diverged model predicts NaN; such a box can't be found anywhere.
            usable = np.isfinite(result["boxes"]).all(axis=1) & np.isfinite(result["scores"])
            for index in np.flatnonzero(usable):
                x1, y1, x2, y2 = result["boxes"][index].tolist()
                detections.append(
                    {
                        "image_id": result["image"],
                        "category_id": self.categories[result["labels"][index]],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "score": float(result["scores"][index]),
                    }
                )
        return self.evaluate_detections(detections, "bbox", results)

    def evaluate_detections(
        self, detections: list[dict[str, Any]], kind: str, results: Sequence[Any]
    ) -> CocoScores:
        return evaluate_coco(
            self.coco,
            detections,
            kind,
            images=(result["image"] for result in results),
            categories=self.categories,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        assert self.dataset_meta is not None
        return tuple(self.dataset_meta["classes"])

    @cached_property
    def categories(self) -> list[int]:
        """COCO's category id of each label."""
        return category_ids(self.coco, self.classes, self.ann_file)

    def keep_curves(self, **scores: CocoScores) -> None:
        """Have the curves of these evaluations (``box``, ``mask``) computed when somebody asks for them.

        The first one's detections make the confusion matrix.
        """
        names = dict(zip(self.categories, self.classes, strict=True))

        def compute() -> Curves:
            parts = {part: coco_curves(one, names) for part, one in scores.items()}
            return {"parts": parts, "confusion": confusion_curves(next(iter(scores.values())), names)}

        self.curves = compute

    def named(self, scores: CocoScores) -> dict[str, float]:
        """COCO's scores under the field's names; what has no ground truth (a size, a class) is left out."""
        values: dict[str, float | None] = {
            "mAP50-95": scores.ap() or 0.0,
            "mAP50": scores.ap(iou=0.5) or 0.0,
            "mAP75": scores.ap(iou=0.75) or 0.0,
            **{f"mAP_{size}": scores.ap(area=size) for size in ("small", "medium", "large")},
            "AR100": scores.ar() or 0.0,
        }
        for name, category in zip(self.classes, self.categories, strict=True):
            values[class_key(name, "mAP50-95")] = scores.ap(category=category)
            values[class_key(name, "mAP50")] = scores.ap(iou=0.5, category=category)
        return {name: value for name, value in values.items() if value is not None}
