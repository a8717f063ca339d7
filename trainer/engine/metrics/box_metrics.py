"""How well boxes are found (detection)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import METRICS

from trainer.engine.metrics.detections import DetectionMetrics


@METRICS.register_module()
class BoxMetrics(DetectionMetrics):
    """COCO's box average precision: ``mAP50-95 mAP50 mAP75 mAP_small mAP_medium mAP_large AR100``, from 0 to 1.

    Per class: ``mAP50-95`` and ``mAP50``. A class or a size without ground truth is left out; without any detection
    the rest is 0. See :class:`DetectionMetrics` for the arguments.
    """

    def compute_metrics(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        scores = self.evaluate_boxes(results)
        self.keep_curves(box=scores)
        return self.named(scores)
