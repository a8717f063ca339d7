"""CONFIG in all its forms: ``{basic, advanced}``, flat, and the backend's nested ``advanced_config``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.core.errors import fold
from trainer.platform.settings.coercion import shown
from trainer.platform.settings.environment_variables import Variables, json_object
from trainer.platform.settings.setting_keys import NOTHING, Reader, SettingKey, by_name
from trainer.platform.settings.settings_table import ADVANCED, BASIC, FORM, JOB, NESTED
from trainer.schema import Experiment
from trainer.schema.fields import fields_of

# Read elsewhere: they say what is trained, not how.
ELSEWHERE = ("task_type", "task", "model_name", "model")
_FLAT = (JOB, ADVANCED, FORM)
_DEFAULTS = ("epochs", "batch")


def is_backend(config: Mapping[str, Any]) -> bool:
    """Whether CONFIG is as the backend writes it: it always has ``advanced_config``, and constants beside it."""
    return "advanced_config" in config


def read_settings(variables: Variables, config: Mapping[str, Any], source: str, reader: Reader) -> None:
    """Read all settings of a training job into ``reader``, what counts most first.

    Direct variables, ``basic``, ``advanced``, CONFIG's flat keys, ``advanced_config`` (else the variable
    ``ADVANCED_CONFIG``), older variables (``CONFIG_EPOCHS``...), defaults.
    """
    for key in JOB:
        for name in key.variables:
            if given := variables.get(name):
                reader.setting(key, given.value, given.source)
                break
    drawers = {"basic": (BASIC, ADVANCED, FORM, JOB), "advanced": (ADVANCED, BASIC, FORM, JOB)}
    for name, tables in drawers.items():
        _drawer(reader, config.get(name), tables, f"{source}.{name}")
    reader.drawer(config, _FLAT, source, skip=(*drawers, *ELSEWHERE, "advanced_config"))
    if isinstance(config.get("advanced_config"), dict):
        _nested(reader, config["advanced_config"], f"{source}.advanced_config")
    elif config.get("advanced_config") is not None:
        reader.mistakes.append(
            f"{source}.advanced_config: expected an object, got {shown(config['advanced_config'])}"
        )
    elif given := variables.get("ADVANCED_CONFIG"):
        _nested(reader, json_object(given.value, given.source), given.source)
    for key in JOB:
        if key.legacy and (given := variables.get(key.legacy)):
            reader.setting(key, given.value, given.source)
    for key in JOB:
        if key.name in _DEFAULTS and isinstance(key.to, str) and key.to not in reader.pairs:
            reader.take([(key.to, key.default)], f"{key.name}, by default", key.default)


def settle(reader: Reader, task: str) -> None:
    """Take back what the chosen task, optimizer, schedule and data don't look at; it is told as ignored."""
    known = fields_of(Experiment)
    for name in list(reader.pairs):
        leaf = known.get(name)
        if leaf is None:
            continue
        tasks = leaf.metadata.get("tasks")
        if tasks and task not in tasks:
            reader.drop(name, f"it is for {' and '.join(tasks)}")
            continue
        group = name.partition(".")[0]
        variants = leaf.owners
        chosen = str(reader.pairs.get(group, "default"))
        if variants and group in ("optimizer", "scheduler") and chosen not in variants:
            reader.drop(name, f"{group} is {chosen}; it is for {' and '.join(variants)}")
    if "runtime.early_stopping" in reader.pairs:  # the platform counts epochs, the trainer validations
        epochs, interval = reader.pairs["runtime.early_stopping"], reader.pairs.get("runtime.val_interval", 1)
        reader.change("runtime.early_stopping", max(1, math.ceil(epochs / interval)))
    both = [name for name in ("scheduler.warmup_epochs", "scheduler.warmup_iters") if name in reader.pairs]
    if len(both) == 2:
        reader.drop(both[1], f"{reader.sources[both[0]]} counts")


def _drawer(reader: Reader, content: Any, tables: tuple[tuple[SettingKey, ...], ...], source: str) -> None:
    if content is None:
        return
    if not isinstance(content, dict):
        reader.mistakes.append(f"{source}: expected an object, got {shown(content)}")
        return
    reader.drawer(content, tables, source)


def _nested(reader: Reader, content: Mapping[str, Any], source: str) -> None:
    """Groups whose defaults say nothing; what else is in there is flat, as forms and people write it."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict) and name in NESTED:
            table = NESTED[name]
            reader.drawer(value, [table], f"{source}.{name}", skip=_defaults(value, table))
        elif name not in _defaults(content, NESTED[""]):
            flat[name] = value
    reader.drawer(flat, (NESTED[""], ADVANCED, BASIC, FORM, JOB), source, skip=ELSEWHERE)


def _defaults(group: Mapping[str, Any], table: tuple[SettingKey, ...]) -> set[str]:
    """The names of a group whose values are what the backend fills in."""
    known = by_name([table])
    return {
        name
        for name, value in group.items()
        if (key := known.get(fold(name))) and key.default is not NOTHING and _same(value, key.default)
    }


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, str) and isinstance(default, str):
        return fold(value) == fold(default)
    # True is 1 in Python, but not in a setting.
    return value == default and isinstance(value, bool) == isinstance(default, bool)
