"""How well pixels are classified (semantic segmentation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from trainer.engine.metrics.per_class_names import class_key
from trainer.engine.metrics.pr_curves import Curves

Counts = tuple[np.ndarray, np.ndarray]
"""Where a flattened confusion matrix isn't 0, and how many pixels are there: of one image it is nearly empty."""


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
        self.curves: Callable[[], Curves] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count pixels of ``pred_sem_seg`` and ``gt_sem_seg``, both (1, H, W) class indices."""
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze()
            truth = sample["gt_sem_seg"]["data"].squeeze().to(predicted.device)
            self.results.append(count_pixels(predicted, truth, len(self.classes), self.ignore_index))

    def compute_metrics(self, results: Sequence[Counts]) -> dict[str, float]:
        size = len(self.classes)
        flat = np.zeros(size * size, np.int64)
        for places, counts in results:
            flat[places] += counts
        matrix = flat.reshape(size, size)
        self._keep_curves(matrix)
        right, truth, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        union = truth + predicted - right
        iou, dice = _share(right, union), _share(2 * right, truth + predicted)
        values = {
            "mIoU": _mean(iou),
            "mDice": _mean(dice),
            "mAcc": _mean(_share(right, truth)),
            "aAcc": float(right.sum() / max(int(truth.sum()), 1)),
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

    def _keep_curves(self, matrix: np.ndarray) -> None:
        names = list(self.classes)
        self.curves = lambda: {"confusion": {"of": "pixels", "names": names, "matrix": matrix.tolist()}}


def count_pixels(predicted: torch.Tensor, truth: torch.Tensor, classes: int, ignore: int) -> Counts:
    """The confusion matrix of one image, rows the truth, without the pixels of value ``ignore``.

    Args:
        predicted, truth: (H, W) class indices on the same device.
    """
    counted = (truth != ignore) & (truth >= 0) & (truth < classes)
    pairs = truth[counted].long() * classes + predicted[counted].long()
    counts = torch.bincount(pairs, minlength=classes * classes)
    places = counts.nonzero().squeeze(1)
    return places.cpu().numpy(), counts[places].cpu().numpy()


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN for 0/0, a class that isn't there."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
