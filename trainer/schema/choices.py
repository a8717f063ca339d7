"""Which dataclass a group's choice has, and which keys belong to which choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.schema import datasets as data
from trainer.schema import launchers, optimizers, schedulers
from trainer.schema.callbacks import Callback, NoCallback, PlatformCallback
from trainer.schema.declaration import Choice


@dataclass(frozen=True)
class ChoiceGroup:
    """A group whose choices have classes of their own.

    Attributes:
        base: the class of a choice that has none.
        classes: the classes of the choices in this package, by name.
        entry_points: the entry-point group of plug-ins, whose objects may have a ``config_class``.
    """

    base: type[Choice]
    classes: Mapping[str, type[Choice]]
    entry_points: str | None = None


GROUPS: dict[str, ChoiceGroup] = {
    "dataset": ChoiceGroup(
        data.Dataset,
        {
            "digits": data.DigitsDataset,
            "auto": data.AutoDataset,
            "dice": data.DiceDataset,
            "coco": data.CocoDataset,
            **dict.fromkeys(("yolo", "voc", "labelme", "masks"), data.FolderDataset),
        },
        "trainer.formats",
    ),
    "optimizer": ChoiceGroup(
        optimizers.Optimizer,
        {
            "default": optimizers.DefaultOptimizer,
            "sgd": optimizers.SgdOptimizer,
            "adam": optimizers.AdamOptimizer,
            "adamw": optimizers.AdamWOptimizer,
        },
    ),
    "scheduler": ChoiceGroup(
        schedulers.Scheduler,
        {
            "default": schedulers.DefaultScheduler,
            "constant": schedulers.ConstantScheduler,
            "step": schedulers.StepScheduler,
            "multistep": schedulers.MultistepScheduler,
            "cosine": schedulers.CosineScheduler,
            "poly": schedulers.PolyScheduler,
            "onecycle": schedulers.OnecycleScheduler,
        },
    ),
    "callback": ChoiceGroup(
        Callback, {"none": NoCallback, "platform": PlatformCallback}, "trainer.callbacks"
    ),
    "launcher": ChoiceGroup(
        launchers.LauncherConfig,
        {
            "local": launchers.LocalConfig,
            "torchrun": launchers.TorchrunConfig,
            "slurm": launchers.SlurmConfig,
            "ray": launchers.RayConfig,
            "kubernetes": launchers.KubernetesConfig,
        },
        "trainer.launchers",
    ),
}


def choice_class(group: str, name: str, type_name: str = "") -> type[Choice]:
    """The dataclass of a group's choice.

    Args:
        name: the choice, as the ``name`` of its file says (a data set's ``format``).
        type_name: the registered type that an optimizer's or schedule's file names.

    Returns:
        The class from the table above; else the ``config_class`` of the plug-in of that name; else the group's base.

    Raises:
        ConfigError: a plug-in's ``config_class`` doesn't derive from the group's base class.

    >>> choice_class("launcher", "slurm").__name__
    'SlurmConfig'
    >>> choice_class("launcher", "another").__name__
    'LauncherConfig'
    """
    known = GROUPS[group]
    if not type_name and name in known.classes:
        return known.classes[name]
    if known.entry_points and name in plugins.names(known.entry_points):
        own = getattr(plugins.load(known.entry_points, name), "config_class", None)
        if own is not None:
            if not (isinstance(own, type) and issubclass(own, known.base) and dataclasses.is_dataclass(own)):
                raise ConfigError(
                    f"{group}={name}: config_class must be a dataclass that derives from {known.base.__name__}"
                )
            return own
    return known.base


Choice.find_class = staticmethod(choice_class)


def options_from(group: str, values: Mapping[str, Any]) -> Any:
    """A choice's options from saved values; keys that its class doesn't have are dropped.

    >>> options_from("launcher", {"name": "slurm", "partition": "gpu", "image": None}).partition
    'gpu'
    """
    base = GROUPS[group].base
    schema = choice_class(group, str(values[base.key]), str(values.get("type") or ""))
    names = {field.name for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    return schema(**{key: value for key, value in values.items() if key in names})


def keys_of(schema: type) -> frozenset[str]:
    """The keys that a choice's class takes."""
    names = {field.name for field in dataclasses.fields(schema)}
    return frozenset(names - getattr(schema, "unused", frozenset()))


def owners(group: str, key: str) -> tuple[str, ...]:
    """The choices of this package that take a key of a group; empty when all do, or none.

    >>> owners("optimizer", "momentum")
    ('default', 'sgd')
    >>> owners("optimizer", "lr")
    ()
    """
    if group not in GROUPS:
        return ()
    classes = GROUPS[group].classes
    names = tuple(name for name, schema in classes.items() if key in keys_of(schema))
    return () if len(names) == len(classes) else names
