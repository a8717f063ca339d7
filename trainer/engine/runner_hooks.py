"""The hooks that every training has, registered on its Runner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.core.installation import VERSION
from trainer.core.user_modules import user_modules
from trainer.engine.checkpoint.writer import CheckpointWriter, Keep
from trainer.engine.data_order import DataOrderHook
from trainer.engine.hooks.checkpoints import CheckpointsHook
from trainer.engine.hooks.events import EventsHook
from trainer.engine.hooks.profile import ProfileHook
from trainer.engine.session import Session
from trainer.engine.stop_signals import StopHook
from trainer.mmconfig.batch import batch_facts
from trainer.runs.manifest import Manifest

if TYPE_CHECKING:
    from mmengine.runner import Runner


def register_hooks(
    runner: Runner,
    session: Session,
    manifest: Manifest,
    order: DataOrderHook,
    config_text: str,
    resumed_from: Path | None,
) -> CheckpointsHook:
    """Register data order, events, profile, visualization, checkpoints and stop; returns the checkpoints' hook.

    Intervals, and the metric that decides ``best``, are those of the config's own hooks.

    Args:
        manifest: the run's checkpoints.
        config_text: the MMEngine config as it is saved in checkpoints.
        resumed_from: the checkpoint that training continues from.
    """
    exp, log, ranks = session.exp, session.log, session.ranks
    stock = session.cfg.get("default_hooks", {})
    stock_checkpoint, stock_logger = stock.get("checkpoint") or {}, stock.get("logger") or {}
    rule = stock_checkpoint.get("rule") or ("greater" if exp.task.mode == "max" else "less")
    keep = Keep(rule == "greater", exp.runtime.keep_best, exp.runtime.keep_every)
    checkpoints = CheckpointsHook(
        CheckpointWriter(manifest, log, keep),
        log,
        checkpoint_facts(session, config_text),
        order,
        ranks,
        interval=stock_checkpoint.get("interval", 1),
        by_epoch=stock_checkpoint.get("by_epoch", True),
        save_best=stock_checkpoint.get("save_best") or exp.task.primary_metric,
        source=resumed_from.stem if resumed_from else "last",
    )
    runner.register_hook(order)
    interval = stock_logger.get("interval", exp.runtime.log_interval)
    runner.register_hook(EventsHook(log, interval, identity(session), ranks))
    if ranks.first:
        if exp.debug.profile:
            runner.register_hook(ProfileHook(session.run.dir / "profile", log))
        for hook in session.visualization.hooks() if session.visualization else ():
            runner.register_hook(hook)
    runner.register_hook(checkpoints)
    minutes = exp.runtime.max_minutes
    seconds = None if minutes is None else session.started + 60 * minutes - time.monotonic()
    runner.register_hook(StopHook(session.signals, checkpoints, ranks, seconds))
    return checkpoints


def identity(session: Session) -> dict[str, Any]:
    """What the event ``run_started`` says of the run."""
    run, exp, bundle = session.run, session.exp, session.bundle
    return {
        "run_id": run.id,
        "run_dir": str(run.dir),
        "experiment": run.experiment,
        "task": exp.task.name,
        "model": exp.model.name,
        "dataset": exp.dataset.name,
        "classes": list(bundle.classes),
        "data": {
            "fingerprint": bundle.fingerprint,
            "format": exp.dataset.format,
            "source": exp.dataset.path,
            "splits": {
                name: {"images": split.num_images, "annotations": split.num_annotations}
                for name, split in bundle.splits.items()
            },
        },
        "primary_metric": {"name": exp.task.primary_metric, "mode": exp.task.mode},
        "batch": batch_facts(session.cfg, exp, session.ranks.size),
    }


def checkpoint_facts(session: Session, config_text: str) -> dict[str, Any]:
    """What inference must know about a checkpoint, in plain values: ``meta["trainer"]``."""
    exp, bundle = session.exp, session.bundle
    return {
        "version": VERSION,
        "task": exp.task.name,
        "model": exp.model.name,
        "dataset": exp.dataset.name,
        "classes": list(bundle.classes),
        "palette": [list(colour) for colour in bundle.palette],
        "config": config_text,
        "imports": user_modules(session.cfg.get("custom_imports")),
        "run_id": session.run.id,
        "batch": batch_facts(session.cfg, exp, session.ranks.size),
        "fingerprint": bundle.fingerprint,
    }
