"""Loading an OpenMMLab base config, without importing what it would build."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path

from trainer.config_tree.config_files import config_path
from trainer.config_tree.traverse import Cfg
from trainer.core.errors import ConfigError


def load_base(base: str) -> Cfg:
    """The config named ``package::path`` (or a .py file's path) as plain data, tuples kept.

    Raises:
        ConfigError: when the file is missing or isn't a config of a model.
    """
    path = config_path(base) if "::" in base else Path(base)
    return copy.deepcopy(_load(str(path)))


def base_batch_size(base: str, cfg: Cfg) -> int | None:
    """The whole batch the base's learning rate was chosen for.

    Its name's ``8xb32`` comes first: many bases inherit an ``auto_scale_lr`` of another recipe (RTMDet says 16).
    """
    name = re.search(r"_(\d+)xb(\d+)[-_.]", Path(base.split("::")[-1]).name)
    if name:
        return int(name[1]) * int(name[2])
    stated = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    return int(stated) if stated else None


@functools.lru_cache(maxsize=64)
def _load(path: str) -> Cfg:
    from mmengine.config import Config

    try:
        # custom_imports would import torch and the OpenMMLab packages here; the engine does it before it builds.
        config = Config.fromfile(path, import_custom_modules=False)
    except FileNotFoundError as error:
        raise ConfigError(f"model.base: {path} can't be read: {error}") from error
    except Exception as error:
        raise ConfigError(f"model.base: {path} isn't a loadable MMEngine config: {error}") from error
    if "model" not in config:
        raise ConfigError(f"model.base: {path} is no config of a model")
    return config.to_dict()
