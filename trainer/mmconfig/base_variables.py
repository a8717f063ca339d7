"""Variables of a base config (``train_pipeline``, ``codec``) and the places that hold their value.

Old-style configs write ``train_pipeline = [...]`` and use it in ``train_dataloader``; once loaded these are copies.
Users know the variable, so a difference to it must reach the places, and the saved config must not contradict itself.
"""

from __future__ import annotations

import copy
from typing import Any

from trainer.config_tree.traverse import (
    Cfg,
    Path,
    get_path,
    leaf_dataset,
    switch_pipelines,
    traverse,
    wrappers,
)
from trainer.mmconfig.patch import apply_patch

# Top-level keys that MMEngine itself reads; everything else at the top is a variable.
_RUNNER_KEYS = {
    "model", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg", "test_cfg",
    "optim_wrapper", "param_scheduler", "auto_scale_lr", "val_evaluator", "test_evaluator", "default_hooks",
    "custom_hooks", "load_from", "resume", "launcher", "env_cfg", "log_processor", "log_level",
    "visualizer", "default_scope", "randomness", "experiment_name", "work_dir", "custom_imports", "compile",
    "tta_model",
}  # fmt: skip
_LOADER_OF = {f"{name}_pipeline": f"{name}_dataloader" for name in ("train", "val", "test")}

Links = dict[str, list[Path]]


def find_links(cfg: Cfg) -> Links:
    """Each variable that is a list or dict, with the paths below MMEngine's own keys that hold an equal value."""
    containers = {key: value for key, value in cfg.items() if isinstance(value, (dict, list)) and value}
    variables = {key: value for key, value in containers.items() if key not in _RUNNER_KEYS}
    links: Links = {key: [] for key in variables}
    for path, value in traverse({key: cfg[key] for key in cfg if key in _RUNNER_KEYS}):
        if isinstance(value, (dict, list)):
            for key, wanted in variables.items():
                if value == wanted:
                    links[key].append(path)
    return {key: paths for key, paths in links.items() if paths}


def follow(cfg: Cfg, links: Links) -> None:
    """Give each variable the value that its places have by now."""
    for name in links:
        places = list(_places(cfg, name, links))
        if places:
            cfg[name] = copy.deepcopy(places[0])


def patch_linked(cfg: Cfg, patch: Cfg, links: Links) -> list[str]:
    """``apply_patch``, where a difference to a variable is made in every place that holds it; returns notes."""
    notes = []
    direct = {key: value for key, value in patch.items() if key not in links and key not in _LOADER_OF}
    for name, change in patch.items():
        if name in direct:
            continue
        places = list(_places(cfg, name, links))
        holder = {name: cfg.get(name, copy.deepcopy(places[0]) if places else None)}
        notes += apply_patch(holder, {name: change})
        cfg[name] = holder[name]
        for place in places:  # lists and dicts are changed in place, so every holder sees it
            new = copy.deepcopy(holder[name])
            if isinstance(place, list) and isinstance(new, list):
                place[:] = new
            elif isinstance(place, dict) and isinstance(new, dict):
                place.clear()
                place.update(new)
    return notes + apply_patch(cfg, direct)


def _places(cfg: Cfg, name: str, links: Links) -> list[Any]:
    if name in _LOADER_OF and isinstance(cfg.get(_LOADER_OF[name]), dict):
        loader = cfg[_LOADER_OF[name]]
        # A wrapper that has a pipeline of its own (MultiImageMixDataset) is what the variable was written for.
        holders = [node for node in wrappers(loader) if node.get("pipeline")] or [leaf_dataset(loader)]
        return [node["pipeline"] for node in holders if node.get("pipeline")]
    if name.endswith("pipeline_stage2"):
        return list(switch_pipelines(cfg))
    found = []
    for path in links.get(name, []):
        try:
            found.append(get_path(cfg, path))
        except (KeyError, IndexError, TypeError):
            continue
    return found
