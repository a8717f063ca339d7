"""Where the weights start, and what must not stay frozen without them."""

from __future__ import annotations

from typing import Any

from trainer.bridge.walk import Cfg, dicts


def set_weights(cfg: Cfg, weights: str) -> list[str]:
    """Apply ``model.weights``: ``none``, ``backbone`` (as the base says) or a checkpoint to load.

    From ``none``, layers that the base freezes because they come pretrained are freed: frozen random layers don't
    learn. Returns notes for the user.
    """
    if weights == "backbone":
        return []
    stripped = _strip_pretrained(cfg["model"])
    if weights != "none":
        cfg["load_from"] = weights
        return []
    cfg["load_from"] = None
    if not stripped:
        return []
    freed = _unfreeze(cfg["model"])
    return ["weights=none: layers that the base config freezes are trained"] if freed else []


def _strip_pretrained(model: Cfg) -> bool:
    found = False
    for node in dicts(model):
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None
            found = True
        init = node.get("init_cfg")
        if _is_pretrained(init):
            del node["init_cfg"]
            found = True
        elif isinstance(init, list) and any(_is_pretrained(item) for item in init):
            node["init_cfg"] = [item for item in init if not _is_pretrained(item)]
            found = True
    return found


def _is_pretrained(init: Any) -> bool:
    return isinstance(init, dict) and init.get("type") == "Pretrained"


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
