"""How well pixels are classified (semantic segmentation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from trainer.engine.metrics.names import class_key


@METRICS.register_module()
class SegMetrics(BaseMetric):
    """``mIoU mDice mAcc aAcc`` over all pixels of the split, and each class' ``IoU`` and ``Dice``.

    All are fractions from 0 to 1 like the other tasks' metrics, where mmseg's IoUMetric gives per cent. A class that
    neither the ground truth nor a prediction has is left out, of the means too; one that is only predicted has 0.

    Args:
        ignore_index: the ground truth's value that doesn't count.
        collect_device: where results of several processes meet, ``cpu`` or ``gpu``.
    """

    default_prefix = ""

    def __init__(self, ignore_index: int = 255, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count pixels of ``pred_sem_seg`` and ``gt_sem_seg``, both (1, H, W) class indices."""
        # Here, not above: importing mmseg takes seconds that the other tasks shouldn't pay.
        from mmseg.evaluation.metrics.iou_metric import IoUMetric

        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze()
            truth = sample["gt_sem_seg"]["data"].squeeze().to(predicted)
            areas = IoUMetric.intersect_and_union(predicted, truth, len(self.classes), self.ignore_index)
            # Double: summed as float, areas stop growing exactly beyond 16.7 million pixels.
            self.results.append(torch.stack(areas).double())

    def compute_metrics(self, results: Sequence[torch.Tensor]) -> dict[str, float]:
        if not results:
            return dict.fromkeys(("mIoU", "mDice", "mAcc", "aAcc"), 0.0)
        intersection, union, predicted, truth = torch.stack(list(results)).sum(dim=0)
        # 0/0, a class that isn't there, is NaN until here and left out below.
        iou, dice, accuracy = (
            intersection / union,
            2 * intersection / (predicted + truth),
            intersection / truth,
        )
        values = {
            "mIoU": _mean(iou),
            "mDice": _mean(dice),
            "mAcc": _mean(accuracy),
            "aAcc": float(intersection.sum() / truth.sum().clamp(min=1)),
        }
        for index, name in enumerate(self.classes):
            if union[index] > 0:
                values[class_key(name, "IoU")] = float(iou[index])
                values[class_key(name, "Dice")] = float(dice[index])
        return values

    @property
    def classes(self) -> tuple[str, ...]:
        assert self.dataset_meta is not None
        return tuple(self.dataset_meta["classes"])


def _mean(values: torch.Tensor) -> float:
    return float(values.nanmean()) if not values.isnan().all() else 0.0
