"""Which keys a configuration has: the type, range and meaning of each.

The YAML files in ``conf/`` only choose values. ``None`` means *as the model's authors wrote it* wherever a key changes
something that the OpenMMLab base config already has. A group whose choices have keys of their own (``launcher``,
``dataset``, ``optimizer``, ``scheduler``, ``callback``) has a dataclass for each choice; :mod:`trainer.schema.choices`
finds it.
"""

from __future__ import annotations

from trainer.schema.callbacks import Callback, NoCallback, PlatformCallback
from trainer.schema.choices import choice_class, options_from
from trainer.schema.commands import MODEL, Evaluate, Export, Predict, export_formats
from trainer.schema.datasets import AutoDataset, Dataset, DigitsDataset, dataset_formats, formats
from trainer.schema.declaration import Choice, typed_field
from trainer.schema.experiment import Experiment
from trainer.schema.groups import (
    BOX_TASKS,
    METRICS,
    TASKS,
    Augmentation,
    Debug,
    Model,
    Runtime,
    Task,
    Tracking,
)
from trainer.schema.launch import PRUNERS, SAMPLERS, Launch, Sweep
from trainer.schema.launchers import (
    KubernetesConfig,
    LauncherConfig,
    LocalConfig,
    RayConfig,
    SlurmConfig,
    TorchrunConfig,
)
from trainer.schema.optimizers import Optimizer
from trainer.schema.schedulers import Scheduler

__all__ = [
    "BOX_TASKS",
    "COMMANDS",
    "METRICS",
    "MODEL",
    "PRUNERS",
    "SAMPLERS",
    "TASKS",
    "Augmentation",
    "AutoDataset",
    "Callback",
    "Choice",
    "Dataset",
    "Debug",
    "DigitsDataset",
    "Evaluate",
    "Experiment",
    "Export",
    "KubernetesConfig",
    "Launch",
    "LauncherConfig",
    "LocalConfig",
    "Model",
    "NoCallback",
    "Optimizer",
    "PlatformCallback",
    "Predict",
    "RayConfig",
    "Runtime",
    "Scheduler",
    "SlurmConfig",
    "Sweep",
    "Task",
    "TorchrunConfig",
    "Tracking",
    "choice_class",
    "dataset_formats",
    "export_formats",
    "formats",
    "options_from",
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
"""The commands that use a model, each with its configuration."""
