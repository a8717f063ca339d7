"""Which model a checkpoint is of, as far as it says. What it says is read as text, never run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import squash

_TYPE = re.compile(r"^model\s*=\s*dict\((?:.|\n){0,4000}?^    type=['\"](\w+)['\"]", re.MULTILINE)
_TAIL = re.compile(r"([_-](20\d{6}|\d{6}|[0-9a-f]{8}))+$")


def identify_model(meta: Mapping[str, Any], path: Path) -> str | None:
    """A model's name here, a config of the installed packages, or a class of theirs; None where nothing says."""
    ours = meta.get("trainer")
    if isinstance(ours, Mapping) and isinstance(ours.get("model"), str):
        return ours["model"]
    for name in (meta.get("experiment_name"), meta.get("exp_name"), path.name):
        if isinstance(name, str) and (found := _config(name)):
            return _named(found) or found
    for text in (meta.get("cfg"), meta.get("config")):
        if isinstance(text, str) and (kind := _TYPE.search(text)):
            return kind[1]
    return None


def _config(name: str) -> str | None:
    """``package/folder/config`` of a config's or a published file's name; older names had ``_`` for ``-``."""
    stem = re.sub(r"\.(py|pth|pt)$", "", name)
    for wanted in {squash(stem), squash(_TAIL.sub("", stem))}:
        for package in PACKAGES:
            for config in list_configs(package):
                if squash(config.rpartition("/")[2]) == wanted:
                    return f"{package}/{config}"
    return None


def _named(config: str) -> str | None:
    conf = Conf()
    package, _, relative = config.partition("/")
    base = f"{package}::{relative}.py"
    return next(
        (name for name in conf.groups.get("model", []) if conf.read("model", name).get("base") == base), None
    )
