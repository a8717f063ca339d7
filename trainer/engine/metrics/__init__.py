"""Validation metrics under the field's names, found by mmengine from any default scope.

Each returns flat floats from 0 to 1 without a prefix; a class' own values are called ``per_class/<class>/<metric>``.
"""

from trainer.engine.metrics.box_metrics import BoxMetrics
from trainer.engine.metrics.mask_metrics import MaskMetrics
from trainer.engine.metrics.named_metric import named_metric
from trainer.engine.metrics.per_class_names import split_per_class
from trainer.engine.metrics.pose_metrics import PoseMetrics
from trainer.engine.metrics.pr_curves import take_curves
from trainer.engine.metrics.segmentation_metrics import SegMetrics

__all__ = [
    "BoxMetrics",
    "MaskMetrics",
    "PoseMetrics",
    "SegMetrics",
    "named_metric",
    "split_per_class",
    "take_curves",
]
