"""Where the weights start, and what must not stay frozen without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.checkpoints.weight_spec import BACKBONE, NONE, is_remote, resolve_weights
from trainer.config_tree.traverse import Cfg, dicts
from trainer.core.errors import ConfigError, TrainerError
from trainer.schema import Experiment


def set_weights(cfg: Cfg, exp: Experiment) -> list[str]:
    """Apply ``model.weights``: nothing, the pretrained backbone as the base says, or a checkpoint (``load_from``).

    From ``none``, layers that the base freezes because they come pretrained are freed: frozen random layers don't
    learn. Nothing is downloaded here. Returns notes for the user.

    Raises:
        ConfigError: nothing can be meant by the word, with the nearest choices.
    """
    location = _settle(exp)
    if location == BACKBONE:
        if not pretrained(cfg["model"]):
            raise ConfigError(
                "model.weights=backbone: this model's base config names no pretrained backbone; "
                "coco starts from the published weights of the whole model, none from nothing"
            )
        return []
    stripped = strip_pretrained(cfg["model"])
    if location != NONE:
        cfg["load_from"] = location
        return []
    cfg["load_from"] = None
    if not stripped:
        return []
    freed = _unfreeze(cfg["model"])
    return ["weights=none: layers that the base config freezes are trained"] if freed else []


def pretrained(model: Cfg) -> list[str]:
    """The files that parts of a model start from: names, URLs or paths, each once."""
    return list(dict.fromkeys(node[key] for node, key in pretrained_places(model)))


def pretrained_places(model: Cfg) -> Iterator[tuple[Cfg, str]]:
    """Every (dict, key) below a model that names such a file."""
    for node in dicts(model):
        if isinstance(node.get("pretrained"), str):
            yield node, "pretrained"
        if is_pretrained(node) and isinstance(node.get("checkpoint"), str):
            yield node, "checkpoint"


def is_pretrained(init: Any) -> bool:
    """Whether an ``init_cfg`` reads a file."""
    return isinstance(init, dict) and init.get("type") == "Pretrained"


def fetch_all(cfg: Cfg) -> None:
    """Bring the weights that a final config starts from into the cache, before anything heavy is imported.

    Raises:
        TrainerError: one can't be had.
    """
    from trainer.checkpoints.download import fetch_weights

    named = cfg.get("load_from")
    for source in [*pretrained(cfg["model"]), *([named] if isinstance(named, str) else [])]:
        if is_remote(source):
            fetch_weights(source)
        elif not Path(source).expanduser().is_file():
            raise ConfigError(
                f"the weights {source} are named by this model's config, but there is no such file"
            )


def strip_pretrained(model: Cfg) -> bool:
    """Let no part of a model start from a file; whether one did."""
    found = False
    for node in dicts(model):
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None
            found = True
        init = node.get("init_cfg")
        if is_pretrained(init):
            del node["init_cfg"]
            found = True
        elif isinstance(init, list) and any(is_pretrained(item) for item in init):
            node["init_cfg"] = [item for item in init if not is_pretrained(item)]
            found = True
    return found


def _settle(exp: Experiment) -> str:
    try:
        return resolve_weights(exp.model.weights, exp.model.base, exp.output_dir)
    except TrainerError:
        if not exp.resume:
            raise
        return exp.model.weights  # what the run started from isn't needed to go on with it


def _unfreeze(model: Cfg) -> bool:
    changed = False
    for node in dicts(model.get("backbone") or {}):
        if node.get("frozen_stages", -1) not in (-1, None):
            node["frozen_stages"] = -1
            changed = True
        if node.get("norm_eval"):
            node["norm_eval"] = False
            changed = True
        if node.get("requires_grad") is False:
            node["requires_grad"] = True
            changed = True
    return changed
