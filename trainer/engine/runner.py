"""MMEngine's Runner in our run directory, and the config as it wants it."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from trainer.config.schema import Experiment
from trainer.engine.checkpoint_file import SCHEME
from trainer.engine.limits import ShortLoader


class TrainRunner(Runner):
    """Runner without a folder, log file and config file of its own: the run directory has those already."""

    mm_logger: logging.Logger

    @property
    def timestamp(self) -> str:
        return ""  # names mmengine's log folder, which so is the run directory itself

    def build_logger(self, *args: Any, **kwargs: Any) -> Any:
        return self.mm_logger

    def dump_config(self) -> None:
        """Nothing: mmengine.py is written before the Runner is built."""


def runner_config(
    cfg: Config, exp: Experiment, run_id: str, work_dir: Path, resume_from: Path | None
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
    for name in ("train_dataloader", "val_dataloader"):
        loader = cfg.get(name)
        if isinstance(loader, dict):
            loader.setdefault("worker_init_fn", dict(type="seeds_from_torch"))
            if exp.runtime.deterministic and loader.get("persistent_workers"):
                loader["persistent_workers"] = False  # a worker's own state can't be restored on resume
    return cfg


def shorten(runner: Runner, batches: int) -> None:
    """Train and validate on the first ``batches`` batches of each epoch. Before ``runner.train()``."""
    options = dict(seed=runner.seed, diff_rank_seed=runner._randomness_cfg.get("diff_rank_seed", False))
    if "iter" not in str(runner._train_loop.get("type", "")).lower() and runner._train_loop.get(
        "by_epoch", True
    ):
        runner._train_dataloader = ShortLoader(
            runner.build_dataloader(runner._train_dataloader, **options), batches
        )
    if runner._val_dataloader is not None:
        runner._val_dataloader = ShortLoader(
            runner.build_dataloader(runner._val_dataloader, **options), batches
        )
