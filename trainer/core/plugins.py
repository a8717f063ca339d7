"""Choices that come from outside: entry points by group and name, read without importing what isn't chosen.

A package adds a choice with a line in its ``pyproject.toml``; docs/extending.md has an example of each:

.. code-block:: toml

    [project.entry-points."trainer.launchers"]
    mine = "my_package.launcher:MyLauncher"

What this package brings itself is in the same form, in :mod:`trainer.core.builtin_plugins`.

>>> from trainer.core import plugins
>>> plugins.names("trainer.trackers")
['mlflow', 'tensorboard']
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.builtin_plugins import BUILT_IN
from trainer.core.errors import ConfigError, did_you_mean

CONF = "trainer.conf"
MODULES = "trainer.modules"
GROUPS = (*BUILT_IN, CONF, MODULES)
_SUFFIXES = (".dist-info", ".egg-info")


@dataclass(frozen=True)
class EntryPoint:
    """One line of an entry-point group.

    Attributes:
        value: ``package.module`` or ``package.module:attribute``.
        distribution: the package that it comes with; None for this one.
    """

    group: str
    name: str
    value: str
    distribution: str | None = None

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        return f"the plug-in {self.distribution}" if self.distribution else "this package"

    def load(self) -> Any:
        """The module, or what it holds under the attribute's name.

        Raises:
            ConfigError: it can't be imported, or holds nothing of that name.
        """
        module, _, attribute = self.value.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in filter(None, attribute.split(".")):
                found = getattr(found, part)
        except Exception as error:
            if self.distribution is None:
                raise
            raise ConfigError(
                f"{self.name}: {self.source} can't be used ({self.group}, {self.value}): "
                f"{type(error).__name__}: {error}"
            ) from error
        return found


def names(group: str) -> list[str]:
    """The names of a group's choices: our own in their order, then those of plug-ins, sorted."""
    return list(dict.fromkeys(entry.name for entry in entry_points(group)))


def load(group: str, name: str) -> Any:
    """What a name of a group stands for, imported now.

    Raises:
        ConfigError: there is no such name, several packages have it, or it can't be imported.
    """
    return find(group, name).load()


def find(group: str, name: str) -> EntryPoint:
    """The entry point of that name.

    Raises:
        ConfigError: there is none, or several packages have one.
    """
    found = [entry for entry in entry_points(group) if entry.name == name]
    if not found:
        known = names(group)
        raise ConfigError(
            f"there is no {name!r} among {group}.{did_you_mean(name, known)} Choices: {', '.join(known)}."
        )
    if len(found) > 1:
        raise ConfigError(
            f"{name} comes from {' and from '.join(entry.source for entry in found)}; remove one"
        )
    return found[0]


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, our own first."""
    own = tuple(EntryPoint(group, name, value) for name, value in BUILT_IN.get(group, {}).items())
    return own + _installed(tuple(sys.path)).get(group, ())


def conf_folders() -> list[Path]:
    """The configuration folders of plug-ins (group ``trainer.conf``), found without importing them.

    Raises:
        ConfigError: a plug-in names a folder that isn't there.
    """
    return [_folder(entry) for entry in entry_points(CONF)]


def modules() -> list[str]:
    """The modules that plug-ins want imported wherever a model is built (group ``trainer.modules``)."""
    return [entry.value for entry in entry_points(MODULES)]


def _folder(entry: EntryPoint) -> Path:
    package, *below = entry.value.split(".")
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (folder := Path(place, *below)).is_dir():
            return folder
    raise ConfigError(f"{entry.source} names the configuration folder {entry.value}, which isn't there")


@functools.lru_cache(maxsize=8)
def _installed(paths: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of installed packages in the groups of this one.

    ``importlib.metadata`` finds the same, but takes 0.07 s for it, nearly as long as all of ``--help``.
    """
    found: dict[str, list[EntryPoint]] = {}
    seen: set[str] = set()
    for folder in _metadata(paths):
        name = folder.name.partition("-")[0].lower()
        if name in seen:  # the first on the path is the one that is imported
            continue
        seen.add(name)
        try:
            text = (folder / "entry_points.txt").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if "[trainer." in text:
            for entry in _parse(text, name):
                found.setdefault(entry.group, []).append(entry)
    return {group: tuple(sorted(entries, key=lambda one: one.name)) for group, entries in found.items()}


def _metadata(paths: tuple[str, ...]) -> Iterator[Path]:
    for path in dict.fromkeys(paths):
        try:
            children = sorted(Path(path or ".").iterdir())
        except OSError:
            continue
        yield from (child for child in children if child.name.endswith(_SUFFIXES))


def _parse(text: str, distribution: str) -> Iterator[EntryPoint]:
    group = ""
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif group in GROUPS and "=" in line:
            name, _, value = line.partition("=")
            yield EntryPoint(group, name.strip(), value.strip().partition(" ")[0], distribution)
