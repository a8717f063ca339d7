"""A training: its groups, and the keys beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer.schema.callbacks import Callback, NoCallback
from trainer.schema.datasets import Dataset, DigitsDataset
from trainer.schema.declaration import typed_field
from trainer.schema.groups import Augmentation, Debug, Model, Runtime, Task, Tracking
from trainer.schema.launch import Launch, Sweep
from trainer.schema.launchers import LauncherConfig, LocalConfig
from trainer.schema.optimizers import DefaultOptimizer, Optimizer
from trainer.schema.schedulers import DefaultScheduler, Scheduler

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class Experiment:
    """``python -m trainer [train]``."""

    task: Task = field(default_factory=Task)
    model: Model = field(default_factory=Model)
    dataset: Dataset = field(default_factory=DigitsDataset)
    optimizer: Optimizer = field(default_factory=DefaultOptimizer)
    scheduler: Scheduler = field(default_factory=DefaultScheduler)
    augmentation: Augmentation = field(default_factory=Augmentation)
    runtime: Runtime = field(default_factory=Runtime)
    tracking: Tracking = field(default_factory=Tracking)
    callback: Callback = field(default_factory=NoCallback)
    launcher: LauncherConfig = field(default_factory=LocalConfig)
    launch: Launch = field(default_factory=Launch)
    sweep: Sweep = field(default_factory=Sweep)
    debug: Debug = field(default_factory=Debug)
    name: str | None = typed_field(None, "the experiment's folder; None: <dataset>-<task>")
    output_dir: str = typed_field("runs", "where run directories are made", kind="path")
    id: str | None = typed_field(None, "the run's id, which is its folder's name; None: model, date and time")
    resume: Any = typed_field(
        False,
        "false | true (the newest run of this experiment) | auto (the run of this id, or a new one) "
        "| a run's id or folder",
        kind="resume",
    )
    imports: list[str] = typed_field(
        [], "modules of your own, imported wherever a model, hook, metric or optimizer of theirs is built"
    )
    mm: dict[str, Any] = typed_field({}, "differences to any key of the MMEngine config")
