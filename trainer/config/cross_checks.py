"""Mistakes that only the whole configuration shows: values from files, and keys that don't go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from trainer.core import plugins
from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import METRICS, Experiment, SlurmConfig, TorchrunConfig
from trainer.schema.choices import GROUPS, keys_of
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import Field, fields_of, fields_of_config, value_at
from trainer.zoo.model_names import ModelNames
from trainer.zoo.requirements import refusal


def cross_check_mistakes(
    config: Any, typed: AbstractSet[str], conf: Conf, *, runnable: bool = True
) -> list[str]:
    """All mistakes in a composed configuration.

    Args:
        config: an Experiment, Evaluate, Predict or Export.
        typed: the keys that were typed, each already checked by itself.
        conf: the configuration folders.
        runnable: whether what only a run needs must be there too (a data set's path, a checkpoint).
    """
    found = list(_values(config, conf))
    if isinstance(config, Experiment):
        found += _task_and_model(config, conf)
        found += _ignored(config, typed)
        found += _conflicts(config, typed)
    if runnable:
        found += _missing(config)
    return found


def _values(config: Any, conf: Conf) -> Iterator[str]:
    """Values that files gave."""
    for key, field in fields_of_config(config).items():
        value = value_at(config, key)
        # None and an empty text are a schema's own defaults, never what a file says.
        if value == field.default:
            continue
        if complaint := field.complaint(value):
            yield f"{key}={_shown(value)}: {complaint}"
        elif field.is_choice and not field.choices:
            yield from _name(key, str(value), conf)


def _name(key: str, name: str, conf: Conf) -> Iterator[str]:
    """A choice's name in a file that nothing has."""
    group = key.partition(".")[0]
    known = GROUPS.get(group)
    others = plugins.names(known.entry_points) if known and known.entry_points else []
    names = list(dict.fromkeys([*conf.groups.get(group, []), *(known.classes if known else ()), *others]))
    if name not in names:
        yield f"{key}={name}: expected one of {', '.join(names)}.{did_you_mean(name, names)}"


def _task_and_model(config: Experiment, conf: Conf) -> Iterator[str]:
    task, model = config.task, config.model
    if task.name not in model.tasks:
        able = (
            f"it is for {' and '.join(model.tasks)}"
            if model.tasks
            else "none of this trainer's tasks is its own"
        )
        near = ModelNames(conf).of_task(task.name, like=model.name)
        others = ", ".join(dict.fromkeys([task.default_model, *near]))
        yield f"model={model.name} can't do task={task.name}; {able}. Models for {task.name}: {others}."
    metrics = METRICS[task.name]
    if task.primary_metric not in metrics and not task.metrics:
        hint = did_you_mean(task.primary_metric, metrics) or f" Metrics: {', '.join(metrics)}."
        yield f"task.primary_metric={task.primary_metric}: {task.name} has no such metric.{hint}"


def _ignored(config: Experiment, typed: AbstractSet[str]) -> Iterator[str]:
    """Typed keys that the chosen task doesn't use."""
    for key, field in fields_of_config(config).items():
        tasks = field.metadata.get("tasks")
        if (
            not tasks
            or key not in typed
            or config.task.name in tasks
            or value_at(config, key) in (None, False)
        ):
            continue
        yield f"{key} is ignored with task={config.task.name}; it is for {' and '.join(tasks)}."


def _conflicts(config: Experiment, typed: AbstractSet[str]) -> Iterator[str]:
    if {"scheduler.warmup_iters", "scheduler.warmup_epochs"} <= typed:
        yield "scheduler.warmup_iters and scheduler.warmup_epochs: give one of them."
    if config.resume == "auto" and not config.id:
        yield "resume=auto needs id=<run id>: the run to resume, or to start."
    launcher = config.launcher
    if isinstance(launcher, TorchrunConfig) and launcher.nodes > 1:
        needed = ["rdzv_endpoint", "rdzv_id", *(["node_rank"] if launcher.rdzv_backend == "static" else [])]
        for key in (key for key in needed if getattr(launcher, key) is None):
            doc = _field(f"launcher.{key}").metadata["doc"].rpartition(": ")[2]
            yield f"launcher.{key} is missing: launcher.nodes={launcher.nodes} needs {doc}."
    if (
        isinstance(launcher, SlurmConfig)
        and (launcher.time_minutes or math.inf) * 60 <= launcher.signal_delay_s
    ):
        yield (
            f"launcher.signal_delay_s={launcher.signal_delay_s}: a job of launcher.time_minutes="
            f"{launcher.time_minutes:g} would save and go back into the queue as soon as it begins."
        )
    if config.runtime.device == "cpu" and config.runtime.amp == "fp16":
        yield "runtime.amp=fp16 needs a GPU, and runtime.device is cpu; write runtime.amp=bf16."
    boxes = _field("augmentation.mosaic").metadata["tasks"]
    if config.augmentation.name in ("mosaic", "mosaic_mixup") and config.task.name not in boxes:
        yield (
            f"augmentation={config.augmentation.name} can't be used with task={config.task.name}; "
            f"it is for {' and '.join(boxes)}."
        )


def _missing(config: Any) -> Iterator[str]:
    if not isinstance(config, Experiment):
        if config.checkpoint is None:
            yield "checkpoint is missing: checkpoint=latest, a run's id or folder, or a .pth file."
        return
    data = config.dataset
    if "path" in keys_of(type(data)) and data.path is None:
        yield f"dataset.path is missing: dataset={data.format} needs the data set's folder."
    try:
        if lacking := refusal(config.model.name, config.model.base):
            yield lacking
    except ConfigError as error:
        yield error.message


def _field(key: str) -> Field:
    return fields_of(Experiment)[key]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
