"""How a model's authors train it: the values that a configuration starts from, read from the base config."""

from __future__ import annotations

from typing import Any

from trainer.config_tree.base_config import base_batch_size, load_base
from trainer.config_tree.traverse import Cfg, loader_pipelines, type_name
from trainer.mmconfig.image_size import nominal_size


def facts(base: str, task: str) -> dict[str, Any]:
    """The base's values by the keys that change them; None where the base says nothing.

    Raises:
        ConfigError: the config can't be loaded.
    """
    cfg = load_base(base)
    loop = cfg.get("train_cfg") or {}
    loader = cfg.get("train_dataloader") or {}
    wrapper = cfg.get("optim_wrapper") or {}
    optimizer = wrapper.get("optimizer") or {}
    size = nominal_size(cfg, task)
    found = {
        "dataset.image_size": list(size) if size else None,
        "runtime.batch_size": loader.get("batch_size"),
        "runtime.epochs": loop.get("max_epochs"),
        "optimizer": type_name(optimizer).lower() or None,
        "optimizer.lr": optimizer.get("lr"),
        "optimizer.weight_decay": optimizer.get("weight_decay"),
        "scheduler": _schedule(cfg),
        "augmentation": _steps(loader),
        "runtime.ema": any(type_name(hook) == "EMAHook" for hook in cfg.get("custom_hooks") or []),
        "runtime.amp": "fp16" if type_name(wrapper) == "AmpOptimWrapper" else "off",
        "runtime.clip_grad": (wrapper.get("clip_grad") or {}).get("max_norm"),
    }
    return {
        **found,
        "iterations": loop.get("max_iters"),
        "whole_batch": base_batch_size(base, cfg),
    }


def _schedule(cfg: Cfg) -> list[str]:
    schedulers = cfg.get("param_scheduler") or []
    return [type_name(one) for one in (schedulers if isinstance(schedulers, list) else [schedulers])]


def _steps(loader: Cfg) -> list[str]:
    """The augmentations of training, in order, without what reads and packs."""
    plain = ("Load", "Pack", "Generate", "GetBBox", "FilterAnnotations")
    steps = [type_name(step) for pipeline in loader_pipelines(loader) for step in pipeline]
    return list(dict.fromkeys(step for step in steps if step and not step.startswith(plain)))
