"""How well masks are found (instance segmentation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval import mask as rle
from mmengine.registry import METRICS

from trainer.engine.metrics.detections import DetectionMetrics

HEADLINE = ("mAP50-95", "mAP50", "mAP75")


@METRICS.register_module()
class MaskMetrics(DetectionMetrics):
    """COCO's mask average precision under the names of :class:`BoxMetrics`, from 0 to 1.

    The headline three come as ``mask_mAP50-95 mask_mAP50 mask_mAP75`` too, beside the boxes'
    ``box_mAP50-95 box_mAP50 box_mAP75``. Sizes and per-class values are the masks'.
    """

    def collect(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        instances = sample["pred_instances"]
        result = super().collect(sample)
        masks = instances["masks"]
        if hasattr(masks, "detach"):
            # (N, H, W) -> (H, W, N) in Fortran order, as COCO's encoder reads them; run lengths, since a whole
            # validation set of bitmaps doesn't fit into memory.
            bitmaps = masks.detach().cpu().numpy().astype(np.uint8)
            masks = rle.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0))) if len(bitmaps) else []
        scores = instances["mask_scores"] if "mask_scores" in instances else instances["scores"]
        return {**result, "masks": masks, "mask_scores": scores.detach().cpu().numpy().astype(np.float64)}

    def compute_metrics(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        detections = [
            {
                # No box here: COCO would take its area for the mask's when it sorts masks by size.
                "image_id": result["image"],
                "category_id": self.categories[label],
                "segmentation": mask,
                "score": float(score),
            }
            for result in results
            for label, mask, score in zip(
                result["labels"], result["masks"], result["mask_scores"], strict=True
            )
            if np.isfinite(score)
        ]
        mask_scores = self.evaluate_detections(detections, "segm", results)
        box_scores = self.evaluate_boxes(results)
        self.keep_curves(mask=mask_scores, box=box_scores)
        masks, boxes = self.named(mask_scores), self.named(box_scores)
        return {
            **masks,
            **{f"mask_{name}": masks[name] for name in HEADLINE},
            **{f"box_{name}": boxes[name] for name in HEADLINE},
        }
