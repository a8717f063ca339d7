"""Metrics by the names of the entry-point group ``trainer.metrics``, for ``task.metrics=[name]``."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from trainer.core import plugins
from trainer.core.errors import ConfigError

GROUP = "trainer.metrics"


@METRICS.register_module(name="NamedMetric")
def named_metric(name: str, **options: Any) -> BaseMetric:
    """Make the metric of a name; a config has it as ``{"type": "NamedMetric", "name": "mine"}``.

    Args:
        name: a name of the entry-point group ``trainer.metrics``.
        options: what a metric may need, such as ``ann_file`` (the split's COCO file); each is passed where the
            metric's ``__init__`` has a parameter of that name.

    Raises:
        ConfigError: there is no such metric, or it is no ``mmengine.evaluator.BaseMetric``.
    """
    metric_class = plugins.load(GROUP, name)
    if not (inspect.isclass(metric_class) and issubclass(metric_class, BaseMetric)):
        raise ConfigError(
            f"task.metrics: {name} ({plugins.find(GROUP, name).value}) is no class of mmengine.evaluator.BaseMetric"
        )
    accepted = inspect.signature(metric_class).parameters
    return metric_class(**{key: value for key, value in options.items() if key in accepted})
