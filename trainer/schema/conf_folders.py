"""Where the configuration files are, and which groups and choices they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.schema.experiment_file import GROUP, path_of

_GROUPS = {"evaluate": ("dataset",)}


def conf_dir() -> Path:
    """The folder of the configuration files: inside the installed package, else the checkout's ``conf/``."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(
        f"the configuration files are missing: neither {package / 'conf'} nor {package.parent / 'conf'}"
    )


def config_name(command: str) -> str:
    """The primary config of a command: ``show`` shows, ``check`` checks what ``train`` would do and read."""
    return {"show": "train", "check": "train"}.get(command, command)


@dataclass(frozen=True)
class Conf:
    """The configuration folders in the order in which a choice is looked up.

    Attributes:
        folders: ours, those of plug-ins, then those given by ``--config-dir``.
    """

    folders: list[Path] = field(default_factory=lambda: [conf_dir(), *plugins.conf_folders()])

    @property
    def given_folders(self) -> list[Path]:
        """The folders given by ``--config-dir``."""
        installed = [conf_dir(), *plugins.conf_folders()]
        return [folder for folder in self.folders if folder not in installed]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Each group's choices, both sorted."""
        found: dict[str, set[str]] = {}
        for folder in self.folders:
            for group in folder.iterdir():
                if group.is_dir() and not group.name.startswith((".", "_", "hydra")):
                    names = found.setdefault(group.name, set())
                    names.update(file.stem for file in group.iterdir() if file.suffix == ".yaml")
        return {group: sorted(names) for group, names in sorted(found.items())}

    def groups_of(self, command: str) -> dict[str, list[str]]:
        """The groups that a command has: all for training, the data set for evaluating."""
        if config_name(command) == "train":
            return self.groups
        return {group: self.groups[group] for group in _GROUPS.get(command, ()) if group in self.groups}

    def file(self, group: str, choice: str) -> Path | None:
        """The file of a choice, or None."""
        if group == GROUP and (named := path_of(choice)):
            return named
        for folder in self.folders:
            path = folder / group / f"{choice}.yaml"
            if path.is_file():
                return path
        return None

    def read(self, group: str, choice: str) -> dict[str, Any]:
        """What the file of a choice says, uncomposed; empty when there is none."""
        from trainer.core.yaml_io import load_yaml

        path = self.file(group, choice)
        return load_yaml(path) if path else {}


def conf_with_dirs(folders: list[str]) -> Conf:
    """Our folder, those of plug-ins, and the given ones.

    Raises:
        ConfigError: a given folder doesn't exist.
    """
    extra = [Path(folder).expanduser().resolve() for folder in folders]
    for folder in extra:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: there is no such folder.")
    return Conf([conf_dir(), *plugins.conf_folders(), *extra])
