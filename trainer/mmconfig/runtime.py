"""Loaders' batch and workers, hooks, seed, normalisation over processes, back-ends."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.config_tree.traverse import Cfg, dicts, leaf_dataset, type_name
from trainer.core.errors import ConfigError
from trainer.schema import Debug, Runtime, Task

_SYNC_NORMS = ("SyncBN", "MMSyncBN", "naiveSyncBN")


def on_gpu(runtime: Runtime) -> bool:
    """Whether the run will use a GPU, found without importing torch: by the driver's device files."""
    if runtime.device != "auto":
        return runtime.device == "gpu"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return any(
        Path(place).exists() for place in ("/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version")
    )


def set_loaders(cfg: Cfg, runtime: Runtime, *, gpu: bool) -> None:
    """Batch size and worker processes of the three loaders; memory is pinned only where there is a GPU to copy to.

    Raises:
        ConfigError: a larger validation batch than the model can answer for.
    """
    if (runtime.val_batch_size or 1) > 1 and one_at_a_time(cfg["model"]):
        raise ConfigError(
            f"runtime.val_batch_size={runtime.val_batch_size}: this model answers for one image at a time; "
            "runtime.val_batch_size=1"
        )
    for name in ("train", "val", "test"):
        loader = cfg.get(f"{name}_dataloader")
        if not isinstance(loader, dict):
            continue
        batch = runtime.batch_size if name == "train" else runtime.val_batch_size
        if batch is not None:
            loader["batch_size"] = batch
        workers = runtime.workers
        if workers is None:
            cores = os.environ.get("TRAINER_CORES") or os.cpu_count() or 1  # a sweep's trial has its share
            here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # as many processes do the same
            workers = min(loader.get("num_workers", 2), max(1, int(cores) // here))
        loader["num_workers"] = workers
        loader["persistent_workers"] = workers > 0
        if "pin_memory" in loader and not gpu:
            loader["pin_memory"] = False
        if workers == 0:
            loader.pop("prefetch_factor", None)


def one_at_a_time(model: Cfg) -> bool:
    """Whether a model can only answer for batches of one image: mmpose's DEKR asserts it."""
    return type_name(model.get("head")) == "DEKRHead"


def set_hooks(cfg: Cfg, runtime: Runtime, task: Task) -> None:
    """Saving by the task's metric, logging, early stopping and the moving average."""
    hooks = cfg.setdefault("default_hooks", {})
    rule = "greater" if task.mode == "max" else "less"
    by_epoch = type_name(cfg["train_cfg"]) != "IterBasedTrainLoop"
    old = hooks.get("checkpoint") or {}
    interval = runtime.checkpoint_interval if by_epoch else old.get("interval", 1000)
    hooks["checkpoint"] = {
        "type": "CheckpointHook",
        "interval": interval,
        "by_epoch": by_epoch,
        "save_best": task.primary_metric,
        "rule": rule,
        "max_keep_ckpts": 1,
    }
    hooks["logger"] = {"type": "LoggerHook", "interval": runtime.log_interval}
    if runtime.early_stopping is not None:
        stop = {"type": "EarlyStoppingHook", "monitor": task.primary_metric, "rule": rule}
        _add_hook(cfg, {**stop, "patience": runtime.early_stopping, "min_delta": 0.0})
    _set_ema(cfg, runtime.ema)


def set_norm(cfg: Cfg, runtime: Runtime, *, distributed: bool, gpu: bool) -> list[str]:
    """Batch normalisation over all processes where there are several; on one process or a CPU the plain one.

    Returns notes for the user.
    """
    sync = runtime.sync_bn if runtime.sync_bn is not None else None
    can_sync = distributed and gpu
    for node in dicts(cfg["model"]):
        norm = node.get("norm_cfg")
        if isinstance(norm, dict) and norm.get("type") in _SYNC_NORMS and (sync is False or not can_sync):
            norm["type"] = "BN"
        elif isinstance(norm, dict) and norm.get("type") == "BN" and sync and can_sync:
            norm["type"] = "SyncBN"
        if node.get("use_syncbn") and not can_sync:
            node["use_syncbn"] = False
    if sync and distributed and not gpu:
        return ["runtime.sync_bn: only GPUs can; each process normalises over its own images"]
    return []


def set_environment(cfg: Cfg, runtime: Runtime, work_dir: Path | None) -> None:
    """Seed, determinism, compilation, and no visual back-ends: the event log is where metrics go."""
    cfg["randomness"] = {
        "seed": runtime.seed,
        "deterministic": runtime.deterministic,
        "diff_rank_seed": False,
    }
    if runtime.compile is not None:
        cfg["compile"] = runtime.compile
    cfg.setdefault("env_cfg", {})
    if runtime.deterministic:
        cfg["env_cfg"] = {**cfg["env_cfg"], "cudnn_benchmark": False}
    if isinstance(cfg.get("visualizer"), dict):
        cfg["visualizer"] = {**cfg["visualizer"], "vis_backends": []}
    if cfg.get("vis_backends") is not None:
        cfg["vis_backends"] = []
    cfg["launcher"] = "none"
    cfg["resume"] = False
    if work_dir is not None:
        cfg["work_dir"] = str(work_dir)


def set_debug(cfg: Cfg, debug: Debug) -> None:
    """Overfitting: train and validate on the same first images. (The engine limits batches and profiles.)"""
    if debug.overfit is None:
        return
    train = leaf_dataset(cfg["train_dataloader"])
    for name in ("train", "val", "test"):
        leaf = leaf_dataset(cfg[f"{name}_dataloader"])
        leaf.update(indices=debug.overfit, ann_file=train["ann_file"], data_prefix=train["data_prefix"])
        evaluator = cfg.get(f"{name}_evaluator")
        if isinstance(evaluator, dict) and "ann_file" in evaluator:
            evaluator["ann_file"] = train["ann_file"]


def _set_ema(cfg: Cfg, ema: bool | None) -> None:
    hooks = cfg.get("custom_hooks") or []
    has = any(type_name(hook) == "EMAHook" for hook in hooks)
    if ema is False and has:
        cfg["custom_hooks"] = [hook for hook in hooks if type_name(hook) != "EMAHook"]
    elif ema and not has:
        # RTMDet's and YOLOX's moving average: it follows the weights closely at first, then slowly.
        average = {
            "type": "EMAHook",
            "ema_type": "mmdet.ExpMomentumEMA",
            "momentum": 0.0002,
            "update_buffers": True,
        }
        _add_hook(cfg, {**average, "priority": 49})


def _add_hook(cfg: Cfg, hook: Cfg) -> None:
    cfg["custom_hooks"] = [*(cfg.get("custom_hooks") or []), hook]
