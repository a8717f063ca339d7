"""How many images a step of the weights is made of, and what that does to the learning rate."""

from __future__ import annotations

from typing import Any

from trainer.config_tree.base_config import base_batch_size
from trainer.config_tree.traverse import Cfg
from trainer.schema import Experiment

RULE = "linear"


def batch_facts(cfg: Cfg, exp: Experiment, processes: int) -> dict[str, Any]:
    """What is shown and kept of a batch.

    ``images`` of each of ``processes`` in each of ``accumulate`` iterations make up the ``effective`` batch of one
    step. ``lr`` is the rate for it; ``rule`` says how it came from the rate for a batch of ``base``, null where the
    rate is taken as it was given.
    """
    wrapper = cfg["optim_wrapper"]
    images = (cfg.get("train_dataloader") or {}).get("batch_size") or 1
    accumulate = wrapper.get("accumulative_counts") or 1
    base = base_batch_size(exp.model.base, cfg) if scales(exp) and exp.model.base else None
    return {
        "images": images,
        "processes": processes,
        "accumulate": accumulate,
        "effective": images * processes * accumulate,
        "lr": (wrapper.get("optimizer") or {}).get("lr"),
        "rule": RULE if base else None,
        "base": base,
    }


def scales(exp: Experiment) -> bool:
    """Whether the learning rate follows the effective batch; one that was given doesn't, unless that is said."""
    wanted = exp.runtime.auto_scale_lr
    return exp.optimizer.lr is None if wanted is None else wanted


def notes(facts: dict[str, Any]) -> list[str]:
    """What several processes, or several iterations a step, make of the batch, for the user."""
    if facts["processes"] == facts["accumulate"] == 1:
        return []
    parts = [f"{facts['images']} images"]
    parts += [f"{facts['processes']} processes"] if facts["processes"] > 1 else []
    parts += [f"{facts['accumulate']} iterations a step"] if facts["accumulate"] > 1 else []
    kept = "" if facts["rule"] else f"; the learning rate stays {facts['lr']:g}" if facts["lr"] else ""
    return [f"effective batch {facts['effective']}: {' x '.join(parts)}{kept}"]
