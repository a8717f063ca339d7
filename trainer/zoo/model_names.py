"""Models by name: those of ``conf/model/``, their aliases, and every config of the installed packages."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property

from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.core.errors import ConfigError, fold, nearest
from trainer.schema.conf_folders import Conf
from trainer.zoo.config_tasks import tasks_of


@dataclass(frozen=True)
class NamedModel:
    """A named model: its choice, what it can do (the usual task first), its other names."""

    name: str
    tasks: list[str]
    aliases: list[str]

    @property
    def keys(self) -> set[str]:
        return {squash(word) for word in (self.name, *self.aliases)}


@dataclass(frozen=True)
class ModelNames:
    """The models that can be chosen, from the given configuration folders and the installed packages."""

    conf: Conf

    def resolve(self, word: str, task: str | None = None) -> str:
        """The choice that ``word`` means, whatever its case, ``_`` and ``-``.

        Where a name stands for several models, the one that can do ``task`` is taken.
        Raises :class:`ConfigError` with the nearest names.
        """
        if "/" in word or "::" in word:
            return self._of_zoo(word)
        if task is None and self.conf.file("model", fold(word)):
            return fold(word)
        key = squash(word)
        hits = [model for model in self.named if key in model.keys]
        # The model's own name before another's alias.
        hits.sort(key=lambda model: (task is not None and task not in model.tasks, squash(model.name) != key))
        if hits:
            return hits[0].name
        same = [
            f"{p}/{config}"
            for p in PACKAGES
            for config in list_configs(p)
            if squash(config.split("/")[-1]) == key
        ]
        if len(same) == 1:
            return same[0]
        if same:
            raise ConfigError(f"{word!r} stands for several configs: {', '.join(same)}.")
        raise ConfigError(f"there is no model {word!r}.{self.hint(word)}")

    def tasks(self, choice: str) -> list[str]:
        """What a resolved choice can do, the usual task first."""
        if "/" in choice:
            package, _, relative = choice.partition("/")
            return tasks_of(package, relative)
        return list(self.conf.read("model", choice).get("tasks") or [])

    def of_task(self, task: str, like: str = "", n: int = 5) -> list[str]:
        """Named models for a task, those that look most like ``like`` first."""
        able = [model.name for model in self.named if task in model.tasks]
        near = nearest(like, able, n) if like else []
        return [*near, *(name for name in able if name not in near)][:n]

    def hint(self, word: str) -> str:
        """`` Did you mean ...?`` over names and aliases, then over the packages' configs."""
        words = {alias: model.name for model in self.named for alias in (*model.aliases, model.name)}
        near = list(dict.fromkeys(words[hit] for hit in nearest(word, words)))
        if not near:
            near = nearest(word, [c.split("/")[-1] for p in PACKAGES for c in list_configs(p)])
        return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""

    @cached_property
    def named(self) -> list[NamedModel]:
        """All named models, sorted by name."""
        found = []
        for name in self.conf.groups.get("model", []):
            content = self.conf.read("model", name)
            found.append(
                NamedModel(name, list(content.get("tasks") or []), list(content.get("aliases") or []))
            )
        return found

    def _of_zoo(self, word: str) -> str:
        choice = word.replace("::", "/").removesuffix(".py")
        package, _, relative = choice.partition("/")
        if package not in PACKAGES:
            raise ConfigError(
                f"there is no model {word!r}: a config's name begins with {', '.join(PACKAGES)}."
            )
        known = list_configs(package)
        if relative in known:
            return choice
        if not known:
            raise ConfigError(f"model {word!r}: the package {package} is not installed.")
        near = [f"{package}/{hit}" for hit in nearest(relative, known)]
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(f"{package} has no config {relative!r}.{hint}")


@functools.cache
def squash(name: str) -> str:
    """A name without what doesn't count: case, ``_``, ``-`` and blanks."""
    return fold(name).replace("-", "")
