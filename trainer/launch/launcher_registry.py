"""Launchers by name: our own and those of plug-ins, imported when they are needed."""

from __future__ import annotations

import importlib.util
from typing import Any

from trainer.core import plugins
from trainer.core.errors import ConfigError, ResourceError
from trainer.launch.handle import GROUP
from trainer.launch.job_store import LaunchedJob
from trainer.launch.launcher import Launcher
from trainer.schema import LauncherConfig


def launcher_class(name: str) -> type[Launcher[Any]]:
    """The class of a launcher.

    Raises:
        ConfigError: there is no such launcher, or a plug-in's can't be used.
    """
    entry = plugins.find(GROUP, name)
    loaded = entry.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Launcher)):
        raise ConfigError(
            f"launcher={name}: {entry.value} of {entry.source} is not a subclass of trainer.launch.Launcher"
        )
    return loaded


def make_launcher(options: LauncherConfig) -> Launcher[Any]:
    """The launcher that options are for.

    Raises:
        ConfigError: there is no such launcher.
        ResourceError: the package that it needs isn't installed.
    """
    made = launcher_class(options.name)
    if made.requires is not None:
        package, extra = made.requires
        if importlib.util.find_spec(package) is None:
            source = plugins.find(GROUP, options.name).distribution or "openmmlab-trainer"
            install = f"pip install '{source}[{extra}]'" if extra else f"pip install {package}"
            raise ResourceError(f"launcher={options.name} needs the package {package}: {install}")
    return made(options)


def launcher_of(launched: LaunchedJob) -> Launcher[Any]:
    """The launcher that a job was launched with."""
    return make_launcher(launched.job.options)
