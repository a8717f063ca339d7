"""Hydra's composition with only the parts that a composition needs.

The steps are those of Hydra's own ``ConfigLoaderImpl``: defaults list, merging, overrides. Its ``hydra`` node
(launchers, logging, output folders) takes half of the time and is left out, except for ``--info`` and ``--cfg hydra``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from trainer.config.chosen_classes import ChosenClasses
from trainer.config.config_sources import FolderSource, RecipeSource, ZooSource
from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf, config_name

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from hydra.core.override_parser.types import Override

__all__ = ["QUIET", "get_args_parser", "load", "register", "search_path", "whole_hydra"]

SCHEMA = "schema_"
# Without output folder and logging set-up: those are the run directory's and the engine's.
QUIET = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")


def load(command: str, overrides: Sequence[Override], conf: Conf) -> tuple[DictConfig, list[str]]:
    """Compose a command's configuration, each group typed by the class of its choice.

    Returns:
        The configuration, and what is wrong with overrides whose keys belong to other choices.

    Raises:
        Hydra's and OmegaConf's own errors.
    """
    register(command)
    loader = TypedLoader(search_path(conf), command, overrides)
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
    fitting, mistakes = loader.chosen.sort_overrides(defaults.config_overrides)
    loader._apply_overrides_to_config(fitting, config)
    return config, mistakes


def whole_hydra(command: str, conf: Conf, overrides: Sequence[Override] = ()) -> Hydra:
    """Hydra with all its parts, for ``--info``, ``--cfg hydra`` and shell completion."""
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins

    Plugins.instance()
    register(command)
    GlobalHydra.instance().clear()
    path = search_path(conf, whole=True)
    hydra = Hydra.create_main_hydra2("trainer", path)
    hydra.config_loader = TypedLoader(path, command, overrides)
    return hydra


class TypedLoader(ConfigLoaderImpl):
    """Hydra's loader, which types the node of each group by the class of the choice.

    Attributes:
        chosen: the choices and their classes, once a configuration is composed.
    """

    def __init__(self, path: ConfigSearchPathImpl, command: str, overrides: Sequence[Override]) -> None:
        super().__init__(path)
        self.chosen = ChosenClasses(COMMANDS[command])
        self._overrides = overrides
        self._loaded: dict[int, ConfigResult] = {}

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
        self._loaded = {}
        results: list[Any] = [self._load_single_config(default, repo) for default in defaults]
        files = [result for result in results if not result.is_schema_source]
        self.chosen.choose([result.config for result in files], self._overrides)
        for default, result in zip(defaults, results, strict=True):
            if result.is_schema_source and str(default.config_path).startswith(SCHEMA):
                result.config = self.chosen.schema_node()
            elif not result.is_schema_source:
                self.chosen.drop_other_keys(result.config)
        self._loaded = {id(default): result for default, result in zip(defaults, results, strict=True)}
        return super()._compose_config_from_defaults_list(defaults, repo)

    def _load_single_config(self, default: Any, repo: Any) -> ConfigResult:
        return self._loaded.get(id(default)) or super()._load_single_config(default, repo)


def search_path(conf: Conf, whole: bool = False) -> ConfigSearchPathImpl:
    """Our folders, the zoo and the schema; ``whole`` adds Hydra's own configuration."""
    path = ConfigSearchPathImpl()
    if whole:
        path.append("hydra", "pkg://hydra.conf")
    given = conf.given_folders
    for index, folder in enumerate(conf.folders):
        path.append(
            ("main" if not index else "command-line" if folder in given else "plug-in"), f"conf://{folder}"
        )
    path.append("zoo", "zoo://")
    path.append("recipe", "recipe://")
    path.append("schema", "structured://")
    return path


def register(command: str) -> None:
    """Register a command's schema and our sources with Hydra."""
    version.setbase("1.3")
    store = ConfigStore.instance()
    name = config_name(command)
    if f"{SCHEMA}{name}.yaml" not in store.repo:
        store.store(name=f"{SCHEMA}{name}", node=COMMANDS[name], provider="trainer")
    for source in (FolderSource, ZooSource, RecipeSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
