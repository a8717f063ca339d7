"""Hydra's composition with only the parts that a composition needs.

The steps are those of Hydra's own ``ConfigLoaderImpl``: defaults list, merging, overrides. Left out is its
``hydra`` node (launchers, logging, output folders: half of the time), unless somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from trainer.config.config_sources import FolderSource, RecipeSource, ZooSource
from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf, config_name

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from hydra.core.override_parser.types import Override

__all__ = ["QUIET", "get_args_parser", "load", "register", "search_path", "whole_hydra"]

# Without output folder and logging set-up: those are the run directory's and the engine's.
QUIET = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")


def load(command: str, overrides: Sequence[Override], conf: Conf) -> DictConfig:
    """A command's composed configuration, typed by its schema. Raises Hydra's and OmegaConf's own errors."""
    register(command)
    loader = ConfigLoaderImpl(search_path(conf))
    repository = CachingConfigRepository(loader.repository)
    defaults = create_defaults_list(
        repo=repository,
        config_name=config_name(command),
        overrides_list=list(overrides),
        prepend_hydra=False,
        skip_missing=False,
    )
    config = loader._compose_config_from_defaults_list(defaults=defaults.defaults, repo=repository)
    OmegaConf.set_struct(config, True)
    loader._apply_overrides_to_config(defaults.config_overrides, config)
    return config


def whole_hydra(command: str, conf: Conf) -> Hydra:
    """Hydra with all its parts, for ``--info``, ``--cfg hydra`` and shell completion."""
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins

    Plugins.instance()
    register(command)
    GlobalHydra.instance().clear()
    return Hydra.create_main_hydra2("trainer", search_path(conf, whole=True))


def search_path(conf: Conf, whole: bool = False) -> ConfigSearchPathImpl:
    """Our folders, the zoo and the schema; ``whole`` adds Hydra's own configuration."""
    path = ConfigSearchPathImpl()
    if whole:
        path.append("hydra", "pkg://hydra.conf")
    for index, folder in enumerate(conf.folders):
        path.append("command-line" if index else "main", f"conf://{folder}")
    path.append("zoo", "zoo://")
    path.append("recipe", "recipe://")
    path.append("schema", "structured://")
    return path


def register(command: str) -> None:
    """Tell Hydra of a command's schema and of our sources."""
    version.setbase("1.3")
    store = ConfigStore.instance()
    name = config_name(command)
    if f"schema_{name}.yaml" not in store.repo:
        store.store(name=f"schema_{name}", node=COMMANDS[name], provider="trainer")
    for source in (FolderSource, ZooSource, RecipeSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
