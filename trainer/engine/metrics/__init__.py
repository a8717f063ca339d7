"""Validation metrics under the field's names, found by mmengine from any default scope.

Each returns flat floats from 0 to 1 without a prefix; a class' own values are called ``per_class/<class>/<metric>``.
"""

from trainer.engine.metrics.box import BoxMetrics
from trainer.engine.metrics.curves import take_curves
from trainer.engine.metrics.mask import MaskMetrics
from trainer.engine.metrics.names import split_per_class
from trainer.engine.metrics.pose import PoseMetrics
from trainer.engine.metrics.seg import SegMetrics

__all__ = ["BoxMetrics", "MaskMetrics", "PoseMetrics", "SegMetrics", "split_per_class", "take_curves"]
