"""The optimiser: update rule, learning rate, weight decay and its exceptions, precision, clipping, accumulation."""

from __future__ import annotations

from typing import Any

from trainer.config_tree.traverse import Cfg, type_name
from trainer.core.errors import ConfigError
from trainer.schema import Optimizer, Runtime

_TYPES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
_ARGUMENTS = ("lr", "weight_decay", "momentum", "nesterov", "betas", "eps", "amsgrad", "fused")
# The packages' own constructors that lower rates by layer, and where each keeps the factor. They read no other rule.
_BY_LAYER = {
    "LearningRateDecayOptimizerConstructor": "decay_rate",  # mmdet, mmseg: ConvNeXt, BEiT, MAE
    "LayerDecayOptimizerConstructor": "decay_rate",  # mmseg: the same under its old name
    "LayerDecayOptimWrapperConstructor": "layer_decay_rate",  # mmpose: ViT
}
_STAGED = "StagedOptimWrapperConstructor"  # trainer.engine.layer_decay
_AMP = {"bf16": "bfloat16", "fp16": "float16"}


def set_optimizer(cfg: Cfg, optimizer: Optimizer, *, frozen: bool = False) -> None:
    """Replace the base's optimiser, or change what is named of it (``default``).

    The base's parameter-wise rules (a backbone's factor, no decay for position embeddings) stay with either.

    Args:
        frozen: parts of the model are frozen, and the optimiser is not to hold them.

    Raises:
        ConfigError: a rule that the base's way of making parameter groups would ignore.
    """
    wrapper = cfg.setdefault("optim_wrapper", {"type": "OptimWrapper"})
    wrapper.setdefault("type", "OptimWrapper")
    options = vars(optimizer)
    given = {key: options[key] for key in _ARGUMENTS if options.get(key) is not None}
    if "betas" in given:
        given["betas"] = tuple(given["betas"])
    if optimizer.name == "default":
        wrapper["optimizer"] = {**(wrapper.get("optimizer") or {}), **given}
    else:
        lr = (wrapper.get("optimizer") or {}).get("lr")
        wrapper["optimizer"] = {"type": _TYPES[optimizer.name], **({"lr": lr} if lr else {}), **given}
    rules = _parameter_rules(optimizer)
    by_layer = _BY_LAYER.get(_constructor(wrapper))
    if by_layer and rules:
        named = [key for key in _RULES if getattr(optimizer, key) is not None]
        raise ConfigError(
            f"{', '.join(f'optimizer.{key}' for key in named)}: this model's base lowers the rates of its backbone "
            "layer by layer and takes no other rule; optimizer.layer_decay changes its factor"
        )
    if rules:
        base = wrapper.get("paramwise_cfg") or {}
        keys = {**(base.get("custom_keys") or {}), **rules.pop("custom_keys", {})}
        wrapper["paramwise_cfg"] = {**base, **rules, **({"custom_keys": keys} if keys else {})}
    if optimizer.layer_decay is not None and by_layer:
        wrapper["paramwise_cfg"] = {**wrapper["paramwise_cfg"], by_layer: optimizer.layer_decay}
    elif optimizer.layer_decay is not None or (frozen and not _constructor(wrapper)):
        _set_stages(wrapper, optimizer.layer_decay)


def set_precision(cfg: Cfg, runtime: Runtime, on_gpu: bool) -> list[str]:
    """Mixed precision, clipping and accumulation in the optimiser's wrapper; returns notes for the user.

    Raises:
        ConfigError: fp16 without a GPU.
    """
    wrapper = cfg.setdefault("optim_wrapper", {"type": "OptimWrapper"})
    notes = _set_amp(wrapper, runtime.amp, on_gpu)
    if runtime.clip_grad is not None:
        wrapper["clip_grad"] = {"max_norm": runtime.clip_grad, "norm_type": 2} if runtime.clip_grad else None
    if runtime.accumulate is not None:
        wrapper["accumulative_counts"] = runtime.accumulate
    return notes


def keep_ratios(cfg: Cfg, optimizer: Optimizer) -> None:
    """Where parts of the model learn at rates of their own, let the schedule end at the same share of each.

    ``eta_min`` is one rate for all: a backbone at a hundredth of the head's would be raised to it.
    """
    if optimizer.layer_decay is None and optimizer.backbone_lr_mult is None:
        return
    schedulers = cfg.get("param_scheduler") or []
    for item in [schedulers] if isinstance(schedulers, dict) else schedulers:
        if type_name(item) == "CosineAnnealingLR" and item.get("eta_min"):
            item["eta_min_ratio"] = float(
                f"{item.pop('eta_min') / cfg['optim_wrapper']['optimizer']['lr']:.6g}"
            )


def scale_lr(cfg: Cfg, base_batch: int | None, batch: int) -> list[str]:
    """The linear rule: the learning rate times the batch's ratio to the one it was chosen for."""
    if isinstance(cfg.get("auto_scale_lr"), dict):
        cfg["auto_scale_lr"] = {**cfg["auto_scale_lr"], "enable": False}  # done here, where `show` shows it
    optimizer = cfg["optim_wrapper"]["optimizer"]
    if base_batch is None or base_batch == batch or "lr" not in optimizer:
        return []
    old = optimizer["lr"]
    optimizer["lr"] = float(f"{old * batch / base_batch:.6g}")
    return [f"learning rate {old:g} x {batch}/{base_batch} (batch size) = {optimizer['lr']:g}"]


def _set_amp(wrapper: Cfg, amp: str | None, on_gpu: bool) -> list[str]:
    wrapper.setdefault("type", "OptimWrapper")
    has_amp = wrapper["type"] in ("AmpOptimWrapper", "CpuAmpOptimWrapper")
    notes = []
    if amp is None and has_amp and not on_gpu:
        amp = "off"
        notes = ["no GPU: the base's mixed precision is off (runtime.amp=bf16 for bfloat16 on the CPU)"]
    if amp in (None, "off"):
        if amp == "off" and has_amp:
            wrapper["type"] = "OptimWrapper"
            for key in ("dtype", "loss_scale", "use_fsdp"):
                wrapper.pop(key, None)
        return notes
    if not on_gpu and amp == "fp16":
        raise ConfigError("runtime.amp=fp16 needs a GPU; on the CPU use runtime.amp=bf16")
    wrapper["type"] = "AmpOptimWrapper" if on_gpu else "CpuAmpOptimWrapper"
    wrapper["dtype"] = _AMP[amp or ""]
    if amp == "fp16":
        wrapper["loss_scale"] = "dynamic"
    else:
        wrapper.pop("loss_scale", None)
    return notes


def _constructor(wrapper: Cfg) -> str:
    return type_name({"type": wrapper.get("constructor") or ""})


def _set_stages(wrapper: Cfg, decay: float | None) -> None:
    """Our constructor around the base's."""
    rules = dict(wrapper.get("paramwise_cfg") or {})
    if decay is not None:
        rules["layer_decay"] = decay
    if within := wrapper.get("constructor"):
        rules["within"] = within
    wrapper.update(constructor=_STAGED, paramwise_cfg=rules)


_RULES = ("norm_decay_mult", "bias_decay_mult", "backbone_lr_mult")


def _parameter_rules(optimizer: Optimizer) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if optimizer.norm_decay_mult is not None:
        rules["norm_decay_mult"] = optimizer.norm_decay_mult
    if optimizer.bias_decay_mult is not None:
        rules["bias_decay_mult"] = optimizer.bias_decay_mult
    if rules:
        # Heads that share layers between levels list the same parameter twice; AdamW refuses that without this.
        rules["bypass_duplicate"] = True
    if optimizer.backbone_lr_mult is not None:
        rules["custom_keys"] = {"backbone": {"lr_mult": optimizer.backbone_lr_mult}}
    return rules
