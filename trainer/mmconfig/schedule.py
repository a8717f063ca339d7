"""Epochs, iterations and the learning rate's course over them."""

from __future__ import annotations

import math
from typing import Any

from trainer.config_tree.traverse import Cfg, of_type, type_name
from trainer.schema import Scheduler

# Warm-up longer than this share of a run would never reach the learning rate on a small data set.
_LONGEST_WARMUP = 0.1


def iterations_per_epoch(num_images: int, batch_size: int, world_size: int, drop_last: bool = False) -> int:
    """Optimiser batches one epoch has on each process; images left over by the division are left out."""
    per_process = max(1, num_images // world_size)
    count = per_process // batch_size if drop_last else math.ceil(per_process / batch_size)
    return max(1, count)


def set_epochs(cfg: Cfg, epochs: int, val_interval: int | None, epoch_length: int) -> None:
    """Train ``epochs`` epochs, whatever loop the base has; its schedule and epoch hooks keep their shares of the run.

    Args:
        epoch_length: iterations an epoch.
    """
    old = cfg.get("train_cfg") or {}
    old_epochs, old_iters = old.get("max_epochs"), old.get("max_iters")
    changed = ("max_iters", "dynamic_intervals", "type", "by_epoch")
    loop = {key: value for key, value in old.items() if key not in changed}
    loop.update(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=val_interval or 1)
    cfg["train_cfg"] = loop
    total = epochs * epoch_length
    epoch_ratio = epochs / old_epochs if old_epochs else None
    iter_ratio = total / old_iters if old_iters else None
    scaled = [_rescale(item, epoch_ratio, iter_ratio, epoch_length, total) for item in _schedulers(cfg)]
    cfg["param_scheduler"] = [item for item in scaled if _lasts(item)]
    if old_iters:
        _count_in_epochs(cfg)
    if old_epochs:
        _rescale_hooks(cfg, old_epochs, epochs)
    if "max_epochs" in cfg:
        cfg["max_epochs"] = epochs


def cap_warmup(cfg: Cfg, epoch_length: int) -> None:
    """Shorten an iteration-counted warm-up that would take up a small data set's whole run."""
    total = total_iterations(cfg, epoch_length)
    limit = max(1, int(total * _LONGEST_WARMUP))
    for item in _schedulers(cfg):
        if type_name(item) == "LinearLR" and not item.get("by_epoch", True) and item.get("end", 0) > limit:
            item["end"] = limit
    cfg["param_scheduler"] = [item for item in _schedulers(cfg) if _lasts(item)]


def set_scheduler(cfg: Cfg, scheduler: Scheduler, epoch_length: int) -> list[str]:
    """Replace the base's schedule by the one that is named, or change its warm-up alone (``default``).

    Returns notes for the user.
    """
    total = total_iterations(cfg, epoch_length)
    wanted = scheduler.warmup_iters or 0
    length = warmup_length(scheduler, epoch_length, total)
    warmup = [] if not length or length < 2 or scheduler.name == "onecycle" else [_warmup(scheduler, length)]
    if scheduler.name != "default":
        begin = length if warmup and length else 0
        cfg["param_scheduler"] = [*warmup, *_main(scheduler, begin, total, epoch_length, learning_rate(cfg))]
    elif length is not None:
        kept = [item for item in _schedulers(cfg) if type_name(item) not in ("LinearLR", "QuadraticWarmupLR")]
        cfg["param_scheduler"] = [*warmup, *kept]
    if length is not None and length < wanted and scheduler.warmup_epochs is None:
        return [f"warm-up of {wanted} iterations shortened to {length}: the run has only {total}"]
    return []


def warmup_length(scheduler: Scheduler, epoch_length: int, total: int) -> int | None:
    """Iterations of warm-up, at most a tenth of the run unless said in epochs; None when nothing is said."""
    if scheduler.warmup_epochs is not None:
        return min(total, round(scheduler.warmup_epochs * epoch_length))
    if scheduler.warmup_iters is None:
        return None
    return min(scheduler.warmup_iters, max(1, int(total * _LONGEST_WARMUP)))


def follow_lr(cfg: Cfg, old: float) -> None:
    """Keep the schedule's lowest rate (``eta_min``, an absolute one) in proportion to a changed learning rate."""
    for item in _schedulers(cfg):
        if item.get("eta_min"):
            item["eta_min"] = float(f"{item['eta_min'] * learning_rate(cfg) / old:.6g}")


def learning_rate(cfg: Cfg) -> float:
    """The optimiser's learning rate."""
    return float(cfg["optim_wrapper"]["optimizer"]["lr"])


def total_iterations(cfg: Cfg, epoch_length: int) -> int:
    """Iterations of the whole run."""
    loop = cfg.get("train_cfg") or {}
    return int(loop.get("max_iters") or loop.get("max_epochs", 1) * epoch_length)


def _main(scheduler: Scheduler, begin: int, total: int, epoch_length: int, lr: float) -> list[Cfg]:
    options = vars(scheduler)
    per_iteration = {"by_epoch": False, "begin": begin, "end": total}
    min_ratio = options.get("min_ratio") or 0.0
    if scheduler.name == "cosine":
        flat_until = max(begin, int(total * (options.get("flat_ratio") or 0.0)))
        length = max(1, total - flat_until)
        return [
            {"type": "CosineAnnealingLR", "eta_min": lr * min_ratio, "T_max": length, "by_epoch": False}
            | {"begin": flat_until, "end": total}
        ]
    if scheduler.name == "poly":
        return [
            {
                "type": "PolyLR",
                "power": options.get("power") or 0.9,
                "eta_min": lr * min_ratio,
                **per_iteration,
            }
        ]
    if scheduler.name == "step":
        step = (options.get("step_size") or 1) * epoch_length
        return [{"type": "StepLR", "step_size": step, "gamma": options.get("gamma") or 0.1, **per_iteration}]
    if scheduler.name == "multistep":
        wanted = options.get("milestones") or [2 / 3, 11 / 12]
        shares = all(0 < milestone < 1 for milestone in wanted)
        places = [round(m * total) if shares else round(m * epoch_length) for m in wanted]
        return [
            {
                "type": "MultiStepLR",
                "milestones": places,
                "gamma": options.get("gamma") or 0.1,
                **per_iteration,
            }
        ]
    if scheduler.name == "onecycle":
        return [
            {"type": "OneCycleLR", "eta_max": lr, "total_steps": total, "by_epoch": False}
            | {"pct_start": options.get("pct_start") or 0.3}
        ]
    return [{"type": "ConstantLR", "factor": 1.0, **per_iteration}]


def _warmup(scheduler: Scheduler, length: int) -> Cfg:
    start = scheduler.warmup_ratio or 0.001
    return {"type": "LinearLR", "start_factor": start, "by_epoch": False, "begin": 0, "end": length}


def _rescale(
    item: Cfg, epoch_ratio: float | None, iter_ratio: float | None, epoch_length: int, total: int
) -> Cfg:
    item = dict(item)
    by_epoch = item.get("by_epoch", True)
    if by_epoch:
        # An epoch schedule over a base without epochs can't be placed in shares of the run; it stays.
        return _scale_epochs(item, epoch_ratio, epoch_length) if epoch_ratio else item
    ratio = iter_ratio
    if ratio is None:  # iteration-counted warm-up in an epoch-counted base: its own length, if it fits
        ratio = min(1.0, total * _LONGEST_WARMUP / max(1, item.get("end") or 1))
    return _scale_times(item, ratio, whole=1)


def _scale_epochs(item: Cfg, ratio: float, epoch_length: int) -> Cfg:
    scaled = _scale_times(item, ratio, whole=None)
    times = [value for key, value in scaled.items() if key in _TIMES]
    flat = [time for value in times for time in (value if isinstance(value, (list, tuple)) else [value])]
    if all(abs(time - round(time)) < 1e-9 for time in flat) and flat:
        return _scale_times(item, ratio, whole=1)
    # Fractions of an epoch are only sayable in iterations.
    scaled.pop("convert_to_iter_based", None)
    scaled["by_epoch"] = False
    return _scale_times(scaled, epoch_length, whole=1)


_TIMES = ("begin", "end", "T_max", "milestones", "step_size", "total_steps", "total_iters")


def _scale_times(item: Cfg, ratio: float, whole: int | None) -> Cfg:
    scaled: Cfg = {}
    for key, value in item.items():
        if key in _TIMES and isinstance(value, (list, tuple)):
            scaled[key] = type(value)(_time(v, ratio, whole, 1) for v in value)
        elif key in _TIMES and isinstance(value, (int, float)):
            scaled[key] = _time(value, ratio, whole, 0 if key in ("begin", "end") else 1)
        else:
            scaled[key] = value
    return scaled


def _time(value: float, ratio: float, whole: int | None, least: int) -> float:
    if math.isinf(value):
        return value
    return value * ratio if whole is None else max(least, round(value * ratio))


def _rescale_hooks(cfg: Cfg, old_epochs: int, epochs: int) -> None:
    """Hooks that act in the last epochs keep their share of the run (one epoch at least, when there are five)."""
    ratio = epochs / old_epochs

    def last(count: float) -> int:
        return min(epochs, max(1 if epochs >= 5 else 0, round(count * ratio)))

    for hook in cfg.get("custom_hooks") or []:
        kind = type_name(hook)
        if kind == "PipelineSwitchHook":
            hook["switch_epoch"] = epochs - last(old_epochs - hook["switch_epoch"])
        elif "num_last_epochs" in hook:
            hook["num_last_epochs"] = last(hook["num_last_epochs"])
        elif "epoch_attributes" in hook:
            attributes = hook["epoch_attributes"]
            hook["epoch_attributes"] = {
                epochs - last(old_epochs - at): what for at, what in attributes.items()
            }


def _count_in_epochs(cfg: Cfg) -> None:
    """What an iteration-based base says about sampling, saving and logging, said in epochs."""
    loader = cfg["train_dataloader"]
    if type_name(loader.get("sampler")) == "InfiniteSampler":
        loader["sampler"] = {**loader["sampler"], "type": "DefaultSampler"}
    batch_sampler = loader.get("batch_sampler")
    if type_name(batch_sampler) == "InfiniteGroupBatchSampler":
        loader["batch_sampler"] = None
    for hook in (cfg.get("default_hooks") or {}).values():
        if type_name(hook) == "CheckpointHook":
            hook.update(by_epoch=True, interval=1)
        elif type_name(hook) == "LoggerHook":
            hook.pop("log_metric_by_epoch", None)
    if isinstance(cfg.get("log_processor"), dict):
        cfg["log_processor"] = {**cfg["log_processor"], "by_epoch": True}
    for hook in of_type(cfg.get("custom_hooks") or [], "EMAHook"):
        hook.pop("begin_iter", None)


def _lasts(item: Cfg) -> bool:
    """Whether a schedule item has room to change anything; a warm-up of one iteration divides by zero in MMEngine."""
    least = (
        2 if type_name(item) in ("LinearLR", "QuadraticWarmupLR") and not item.get("by_epoch", True) else 1
    )
    return bool(item.get("end", least) - item.get("begin", 0) >= least)


def _schedulers(cfg: Cfg) -> list[Cfg]:
    schedulers: Any = cfg.get("param_scheduler") or []
    return [schedulers] if isinstance(schedulers, dict) else list(schedulers)
