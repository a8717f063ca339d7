"""The classes that a composition's choices have, and what the keys of other choices come to."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from trainer.schema.choices import GROUPS, choice_class, keys_of
from trainer.schema.fields import fields_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


class ChosenClasses:
    """The class of each group's node in one composition.

    Args:
        schema: the command's dataclass.
    """

    def __init__(self, schema: type) -> None:
        self.schema = schema
        self._groups = {field.name for field in dataclasses.fields(schema)}
        self.names: dict[str, str] = {}
        self.classes: dict[str, type] = {}

    def choose(self, configs: Sequence[DictConfig], overrides: Sequence[Override]) -> None:
        """Find the choice of each group in the files to be merged, the last one first, and in the overrides."""
        for group in (name for name in GROUPS if name in self._groups):
            base = GROUPS[group].base
            names = [name for config in configs if (name := _text(config, group, base.key))]
            types = [name for config in configs if (name := _text(config, group, "type"))]
            key = f"{group}.{base.key}"
            names += [str(item.value()) for item in overrides if item.key_or_group == key]
            if names:
                self.names[group] = names[-1]
                self.classes[group] = choice_class(group, names[-1], types[-1] if types else "")
            else:
                self.classes[group] = base

    def schema_node(self) -> DictConfig:
        """The schema with these classes."""
        return copy.deepcopy(_schema_node(self.schema, tuple(self.classes.items())))

    def drop_other_keys(self, config: DictConfig) -> None:
        """Take keys of other choices out of a file's content: those of an experiment whose choice was replaced."""
        for group, chosen in self.classes.items():
            node = config._get_node(group)
            if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
                continue
            other = [key for key in node if self._is_other(f"{group}.{key!s}", chosen)]
            with open_dict(node):
                for key in other:
                    del node[key]

    def sort_overrides(self, overrides: Sequence[Override]) -> tuple[list[Override], list[str]]:
        """The overrides whose keys the choices have, and what is wrong with the others.

        One that sets a key of another choice to null or false asks for nothing, and is left out.
        """
        fitting, mistakes = [], []
        for override in overrides:
            group, _, rest = override.key_or_group.partition(".")
            key = f"{group}.{rest.partition('.')[0]}"
            if group not in self.classes or not self._is_other(key, self.classes[group], unused=True):
                fitting.append(override)
            elif override.value() not in (None, False):
                mistakes.append(self._belongs(group, key))
        return fitting, list(dict.fromkeys(mistakes))

    def _is_other(self, key: str, chosen: type, unused: bool = False) -> bool:
        """Whether a key is another choice's alone; ``unused``: also one that the class has but doesn't read."""
        name = key.partition(".")[2]
        keys = keys_of(chosen) if unused else chosen.__dataclass_fields__  # type: ignore[attr-defined]
        return key in fields_of(self.schema) and name not in keys

    def _belongs(self, group: str, key: str) -> str:
        owners = [name for name in fields_of(self.schema)[key].owners if name != "default"]
        choices = (
            f"{group}={' or '.join(filter(None, [', '.join(owners[:-1]), owners[-1]]))}" if owners else ""
        )
        other = f", not to {group}={self.names[group]}" if group in self.names else ""
        return f"{key} belongs to {choices or 'another choice'}{other}."


def _text(config: DictConfig, group: str, key: str) -> str:
    """A text in a file's content, not resolved; empty where there is none."""
    node = config._get_node(group) if isinstance(config, DictConfig) else None
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return ""
    value = node._get_node(key)
    raw: Any = value._value() if value is not None else None  # type: ignore[union-attr]
    return raw if isinstance(raw, str) and "${" not in raw else ""


@functools.lru_cache(maxsize=32)
def _schema_node(schema: type, classes: tuple[tuple[str, type], ...]) -> DictConfig:
    return OmegaConf.structured(schema(**{group: chosen() for group, chosen in classes}))
