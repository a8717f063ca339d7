"""What an experiment names by itself: modules of the user's own, and metrics besides the task's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.config_tree.traverse import Cfg
from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.core.user_modules import check_found, custom_imports

METRICS = "trainer.metrics"
REGISTERED = "trainer.engine.registered"
NAMED_METRIC = "NamedMetric"
_TASK_METRICS = {
    "box": "BoxMetrics",
    "mask": "MaskMetrics",
    "pose": "PoseMetrics",
    "segmentation": "SegMetrics",
}


def add_imports(cfg: Cfg, imports: Sequence[str]) -> None:
    """Add the experiment's modules, those of plug-ins and this package's own to ``custom_imports``.

    Raises:
        ConfigError: a module that isn't there, and how to have it found.
    """
    check_found(imports)
    names = [*custom_imports(cfg.get("custom_imports")), *imports, *plugins.modules(), REGISTERED]
    options = cfg["custom_imports"] if isinstance(cfg.get("custom_imports"), dict) else {}
    cfg["custom_imports"] = {
        "allow_failed_imports": False,
        **options,
        "imports": list(dict.fromkeys(names)),
    }


def add_metrics(cfg: Cfg, names: Sequence[str]) -> None:
    """Add metrics (entry points ``trainer.metrics``) to the evaluators of validation and test.

    Raises:
        ConfigError: there is no metric of that name, or the task has it already.
    """
    for name in names:
        plugins.find(METRICS, name)
    for split in ("val", "test"):
        if names and cfg.get(f"{split}_evaluator"):
            cfg[f"{split}_evaluator"] = [
                *(present := _as_list(cfg[f"{split}_evaluator"])),
                *(_entry(name, present) for name in dict.fromkeys(names)),
            ]


def with_named_metrics(evaluator: Cfg, base: Any) -> Cfg | list[Cfg]:
    """A task's ``evaluator`` for another data set, with the named metrics that ``base`` has.

    A metric that reads annotations gets those of ``evaluator``.
    """
    named = [dict(metric) for metric in _as_list(base) if metric.get("type") == NAMED_METRIC]
    for metric in named:
        if "ann_file" in metric:
            metric["ann_file"] = evaluator.get("ann_file")
    return [evaluator, *named] if named else evaluator


def _entry(name: str, present: list[Cfg]) -> Cfg:
    if any(metric.get("type") == _TASK_METRICS.get(name, name) for metric in present):
        raise ConfigError(f"task.metrics: {name} is the task's own metric; leave it out")
    ann_file = next((metric["ann_file"] for metric in present if metric.get("ann_file")), None)
    return {"type": NAMED_METRIC, "name": name, **({"ann_file": ann_file} if ann_file else {})}


def _as_list(evaluator: Any) -> list[Cfg]:
    return list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator] if evaluator else []
