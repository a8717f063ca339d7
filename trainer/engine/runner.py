"""MMEngine's Runner in our run directory, and the config as it wants it."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm

from trainer.core.errors import CheckpointError
from trainer.core.user_modules import user_modules
from trainer.engine.checkpoint.file import SCHEME
from trainer.engine.distributed.ranks import Ranks
from trainer.engine.weights.weighted_runner import WeightedRunner
from trainer.schema import Experiment

# What mmengine wraps a model in by itself, but for the GPU that it then names.
_WRAPPER = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}


class TrainRunner(WeightedRunner):
    """Runner without a folder, log file and config file of its own: the run directory has those already."""

    mm_logger: logging.Logger

    @property
    def timestamp(self) -> str:
        return ""  # names mmengine's log folder, which so is the run directory itself

    def build_logger(self, *args: Any, **kwargs: Any) -> Any:
        return self.mm_logger

    def dump_config(self) -> None:
        """Nothing: mmengine.py is written before the Runner is built."""

    def wrap_model(self, model_wrapper_cfg: Any, model: Any) -> Any:
        """As mmengine's; on CPUs without the synchronised normalisation that models bring and only GPUs have."""
        if self.distributed and get_device() == "cpu":
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def load_checkpoint(
        self, filename: str, map_location: Any = "cpu", strict: bool = False, revise_keys: Any = None
    ) -> dict[str, Any]:
        """As mmengine's, but going on takes every weight as it was saved, or ends with a CheckpointError."""
        if not self._resume:
            renamed = [(r"^module\.", "")] if revise_keys is None else revise_keys
            return super().load_checkpoint(filename, map_location, strict, renamed)
        try:
            return super().load_checkpoint(filename, map_location, True, [("^", "")])  # no key is renamed
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CheckpointError(
                f"{filename.removeprefix(SCHEME)} is of another model: {' '.join(lines)[:300]}"
            ) from error


def runner_config(
    cfg: Config, exp: Experiment, run_id: str, work_dir: Path, resume_from: Path | None, ranks: Ranks
) -> Config:
    """A copy of ``cfg`` for :class:`TrainRunner`: building changes it in place, and our hooks replace two."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.experiment_name = str(work_dir), run_id
    cfg.default_hooks = {**cfg.get("default_hooks", {}), "checkpoint": None, "logger": None}
    if resume_from is not None:
        cfg.resume, cfg.load_from = True, f"{SCHEME}{resume_from}"
    else:
        cfg.resume = False
    if exp.runtime.compile is not None:
        cfg.compile = bool(exp.runtime.compile) and (cfg.get("compile") or True)
    visualizer = cfg.get("visualizer") or dict(type="Visualizer")
    if isinstance(visualizer, dict):
        backends = visualizer.get("vis_backends") or []
        # The local backend would write the events and the config a second time.
        visualizer["vis_backends"] = [one for one in backends if one.get("type") != "LocalVisBackend"]
        cfg.visualizer = visualizer
    worker_init: dict[str, Any] = {"type": "seeds_from_torch"}
    if modules := user_modules(cfg.get("custom_imports")):
        worker_init["imports"] = modules
    for name in ("train_dataloader", "val_dataloader"):
        loader = cfg.get(name)
        if isinstance(loader, dict):
            loader.setdefault("worker_init_fn", dict(worker_init))
    if ranks.size > 1:
        cfg.launcher = "pytorch"  # the process group is there already
        import torch

        if not torch.cuda.is_available():
            cfg.model_wrapper_cfg = {**_WRAPPER, **(cfg.get("model_wrapper_cfg") or {}), "device_ids": None}
            unused = cfg.get("find_unused_parameters", False)
            cfg.model_wrapper_cfg.setdefault("find_unused_parameters", unused)
    return cfg
