"""Every leaf a configuration may have: its type, its range and what it means.

The YAML files in ``conf/`` only choose values; this folder says which keys there are. ``None`` means *as the
model's authors wrote it* wherever a key changes something that the OpenMMLab base config already has.
"""

from __future__ import annotations

from trainer.schema.commands import EXPORT_FORMATS, MODEL, Evaluate, Export, Predict
from trainer.schema.declaration import typed_field
from trainer.schema.experiment import Experiment
from trainer.schema.groups import (
    BOX_TASKS,
    FORMATS,
    METRICS,
    TASKS,
    Augmentation,
    Callback,
    Dataset,
    Debug,
    Model,
    Optimizer,
    Runtime,
    Scheduler,
    Task,
    Tracking,
)
from trainer.schema.launch import LAUNCHERS, PRUNERS, SAMPLERS, Launch, LauncherConfig, Sweep

__all__ = [
    "BOX_TASKS",
    "COMMANDS",
    "EXPORT_FORMATS",
    "FORMATS",
    "LAUNCHERS",
    "METRICS",
    "MODEL",
    "PRUNERS",
    "SAMPLERS",
    "TASKS",
    "Augmentation",
    "Callback",
    "Dataset",
    "Debug",
    "Evaluate",
    "Experiment",
    "Export",
    "Launch",
    "LauncherConfig",
    "Model",
    "Optimizer",
    "Predict",
    "Runtime",
    "Scheduler",
    "Sweep",
    "Task",
    "Tracking",
    "typed_field",
]

COMMANDS: dict[str, type] = {
    "train": Experiment,
    "show": Experiment,
    "check": Experiment,
    "evaluate": Evaluate,
    "predict": Predict,
    "export": Export,
}
