"""Where Hydra finds configurations: our folders, read with the fast YAML parser, and the packages' zoo."""

from __future__ import annotations

from pathlib import Path

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.core.errors import ConfigError
from trainer.core.yaml_io import parse_yaml
from trainer.schema.experiment_file import GROUP, path_of
from trainer.zoo.config_tasks import refusal, tasks_of


class FolderSource(ConfigSource):
    """``conf://<folder>``: the YAML files of a folder. Hydra's own ``file://`` reads the same, slowly."""

    @staticmethod
    def scheme() -> str:
        return "conf"

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._file(config_path)
        if not path.is_file():
            raise ConfigLoadError(f"there is no file {path}")
        text = path.read_text(encoding="utf-8")
        header = ConfigSource._get_header_dict(text[:512])
        content = OmegaConf.create(parse_yaml(text, str(path)))
        return ConfigResult(provider=self.provider, path=f"conf://{self.path}", config=content, header=header)

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        return Path(self.path, config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        return self._file(config_path).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        folder = Path(self.path, config_path)
        if not folder.is_dir():
            return []
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith((".", "_"))]
        found: list[str] = []
        for name in names:
            self._list_add_result(found, f"{config_path}/{name}".lstrip("/"), name, results_filter)
        return sorted(set(found))

    def _file(self, config_path: str) -> Path:
        return Path(self.path, self._normalize_file_name(config_path))


class RecipeSource(ConfigSource):
    """``recipe://``: files that are named by their paths as choices of the group ``experiment``."""

    @staticmethod
    def scheme() -> str:
        return "recipe"

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._file(config_path)
        if path is None or not path.is_file():
            raise ConfigLoadError(f"there is no file {path}")
        text = path.read_text(encoding="utf-8")
        content = OmegaConf.create(parse_yaml(text, str(path)))
        header = ConfigSource._get_header_dict(text[:512])
        return ConfigResult(provider=self.provider, path="recipe://", config=content, header=header)

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path == GROUP

    def is_config(self, config_path: str) -> bool:
        path = self._file(config_path)
        return path is not None and path.is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    @staticmethod
    def _file(config_path: str) -> Path | None:
        group, _, choice = config_path.partition("/")
        return path_of(choice) if group == GROUP else None


class ZooSource(ConfigSource):
    """``zoo://``: every config of the installed OpenMMLab packages as a choice of the group ``model``."""

    @staticmethod
    def scheme() -> str:
        return "zoo"

    def load_config(self, config_path: str) -> ConfigResult:
        package, relative = self._split(config_path)
        if relative not in list_configs(package):
            raise ConfigLoadError(f"{package} has no config {relative!r}")
        if reason := refusal(package, relative):
            raise ConfigError(reason)
        name, tasks = relative.split("/")[-1], tasks_of(package, relative)
        content = {"name": name, "base": f"{package}::{relative}.py", "tasks": tasks}
        header: dict[str, str | None] = {"package": "model"}
        return ConfigResult(
            provider=self.provider, path="zoo://", config=OmegaConf.create(content), header=header
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        parts = config_path.strip("/").split("/")
        if len(parts) < 2 or parts[0] != "model":
            return config_path == "model"
        folder = "/".join(parts[2:])
        return any(
            not folder or name.startswith(f"{folder}/")
            for name in list_configs(parts[1])
            if parts[1] in PACKAGES
        )

    def is_config(self, config_path: str) -> bool:
        package, relative = self._split(config_path)
        return package in PACKAGES and relative in list_configs(package)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "model":
            # The 1,900 configs themselves would bury the named models; completion asks for them by folder.
            return [] if results_filter == ObjectType.CONFIG else [p for p in PACKAGES if list_configs(p)]
        package, folder = self._split(config_path)
        inside = [
            name[len(folder) :].lstrip("/") for name in list_configs(package) if name.startswith(folder)
        ]
        if results_filter == ObjectType.CONFIG:
            return sorted(name for name in inside if "/" not in name)
        return sorted({name.split("/")[0] for name in inside if "/" in name})

    @staticmethod
    def _split(config_path: str) -> tuple[str, str]:
        """``model/mmdet/rtmdet/x`` as its package and the rest; empty where it is something else."""
        group, _, rest = config_path.partition("/")
        package, _, relative = rest.partition("/")
        return (package, relative.removesuffix(".yaml")) if group == "model" else ("", "")
