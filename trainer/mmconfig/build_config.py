"""From an experiment and its data to a complete ``mmengine.Config``: the base, with what is named changed in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config_tree.base_config import base_batch_size, load_base
from trainer.config_tree.traverse import Cfg
from trainer.core.errors import ConfigError
from trainer.data.bundle import DataBundle
from trainer.mmconfig import (
    augmentation,
    base_variables,
    dataset,
    freeze,
    image_size,
    initial_weights,
    named_parts,
    num_classes,
    optimizer,
    padding,
    runtime,
    schedule,
)
from trainer.mmconfig.batch import batch_facts, notes, scales
from trainer.mmconfig.task import set_task
from trainer.schema import Experiment

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass
class Built:
    """The final config as plain data, the base it came from, notes on what was decided, and the batch."""

    cfg: Cfg
    base: Cfg
    notes: list[str] = field(default_factory=list)
    batch: dict[str, Any] = field(default_factory=dict)  # see trainer.mmconfig.batch

    def config(self) -> Config:
        """As MMEngine's Config."""
        from mmengine.config import Config

        return Config(self.cfg)


def build_config(
    exp: Experiment, bundle: DataBundle | None = None, work_dir: Path | None = None, world_size: int = 1
) -> Built:
    """The MMEngine config of an experiment.

    Args:
        exp: the composed experiment; what it leaves ``None`` stays as the base has it.
        bundle: the prepared data; None leaves data, schedule and runtime as they are (only ``mm`` is applied), so
            that an experiment without differences gives back the base unchanged.
        work_dir: the run directory.
        world_size: processes that train together.
    Raises:
        ConfigError: everything that doesn't fit this base, in one message.
    """
    base = load_base(exp.model.base)
    cfg = load_base(exp.model.base)
    built = Built(cfg, base)
    variables = base_variables.find_links(base)
    errors: list[str] = []

    def step(change: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            built.notes += change(*args, **options) or []
        except ConfigError as error:
            errors.append(str(error))

    if bundle is not None:
        _set_all(step, cfg, exp, bundle, work_dir, world_size)
    if errors:
        raise ConfigError("\n".join(errors))
    if bundle is not None:
        base_variables.follow(cfg, variables)
    if exp.mm:
        variables = base_variables.find_links(cfg)  # by now they stand in other places
        step(base_variables.patch_linked, cfg, exp.mm, variables)
        base_variables.follow(cfg, variables)
    if bundle is not None:
        step(named_parts.add_imports, cfg, exp.imports)
        step(named_parts.add_metrics, cfg, exp.task.metrics)
    if errors:
        raise ConfigError("\n".join(errors))
    if bundle is not None:
        built.batch = batch_facts(cfg, exp, world_size)
        built.notes += notes(built.batch)
    return built


def _set_all(
    step: Callable[..., None],
    cfg: Cfg,
    exp: Experiment,
    bundle: DataBundle,
    work_dir: Path | None,
    world_size: int,
) -> None:
    """Every named difference in the order in which they depend on each other."""
    task, run = exp.task.name, exp.runtime
    gpu = runtime.on_gpu(run)
    if not isinstance(cfg.get("train_cfg"), dict) or not isinstance(cfg.get("optim_wrapper"), dict):
        raise ConfigError("model.base: this config can't be trained (it has no train_cfg and optim_wrapper)")
    step(set_task, cfg, task)
    dataset.set_data(cfg, task, bundle)
    step(_set_labels, cfg, task, bundle)
    step(initial_weights.set_weights, cfg, exp)
    step(freeze.set_freeze, cfg, exp.model.freeze)
    if exp.dataset.image_size is not None:
        step(image_size.set_image_size, cfg, task, image_size.as_size(exp.dataset.image_size))
    step(runtime.set_loaders, cfg, run, gpu=gpu)

    loader = cfg["train_dataloader"]
    batch = loader.get("batch_size", 1)
    length = schedule.iterations_per_epoch(
        bundle.train.num_images, batch, world_size, loader.get("drop_last", False)
    )
    if run.epochs is not None:
        step(schedule.set_epochs, cfg, run.epochs, run.val_interval, length)
    elif run.val_interval is not None:
        cfg["train_cfg"] = {**cfg["train_cfg"], "val_interval": run.val_interval}
    step(schedule.cap_warmup, cfg, length)
    old_rate = schedule.learning_rate(cfg)
    step(optimizer.set_optimizer, cfg, exp.optimizer, frozen=exp.model.freeze not in (None, -1))
    if scales(exp):
        accumulate = run.accumulate or cfg["optim_wrapper"].get("accumulative_counts") or 1
        whole = batch * world_size * accumulate
        step(optimizer.scale_lr, cfg, base_batch_size(exp.model.base, cfg), whole)
    step(schedule.follow_lr, cfg, old_rate)
    step(schedule.set_scheduler, cfg, exp.scheduler, length)
    step(optimizer.keep_ratios, cfg, exp.optimizer)
    step(optimizer.set_precision, cfg, run, gpu)

    asked = None if exp.dataset.image_size is None else image_size.as_size(exp.dataset.image_size)
    network_size = asked or image_size.nominal_size(cfg, task) or (640, 640)
    epochs = cfg["train_cfg"].get("max_epochs")
    step(augmentation.set_augmentation, cfg, task, exp.augmentation, network_size, epochs)
    step(padding.set_padding, cfg, task)
    step(runtime.set_norm, cfg, run, distributed=world_size > 1, gpu=gpu)
    step(runtime.set_hooks, cfg, run, exp.task)
    step(runtime.set_environment, cfg, run, work_dir)
    step(runtime.set_debug, cfg, exp.debug)


def _set_labels(cfg: Cfg, task: str, bundle: DataBundle) -> None:
    changed = num_classes.set_num_classes(cfg["model"], len(bundle.classes))
    if bundle.keypoints is not None:
        num_classes.set_num_keypoints(cfg["model"], len(bundle.keypoints.names))
    elif not changed:
        raise ConfigError("model.base: no head in this config states its number of classes")
