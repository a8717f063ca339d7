"""From what was typed to a typed, checked configuration, without torch or any OpenMMLab package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from trainer.core.errors import did_you_mean
from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import fields_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(
    command: str, overrides: Sequence[str], *, conf: Conf | None = None, runnable: bool = True
) -> tuple[Any, DictConfig]:
    """The configuration of a command, as its dataclass and as OmegaConf's tree (what ``--cfg job`` prints).

    Args:
        command: train, show, evaluate, predict or export.
        overrides: what was typed, ``key=value`` each.
        conf: the configuration folders; ours when None.
        runnable: False composes also what lacks a data set's path or a checkpoint.

    Raises:
        ConfigError: with all mistakes in one message.
    """
    from omegaconf import OmegaConf

    from trainer.config.cross_checks import cross_check_mistakes
    from trainer.config.env_references import note
    from trainer.config.override_checks import check_overrides

    conf = conf or Conf()
    checked = check_overrides(command, overrides, conf)
    tree = compose_for_run(command, checked, conf)
    if tree is None:
        checked.raise_mistakes()
    config = to_dataclass(tree, checked.mistakes)
    if config is not None:
        raw = cast(dict[str, Any], OmegaConf.to_container(tree, resolve=False))
        note(config, raw, tuple(map(str, conf.given_folders)))
        checked.mistakes += cross_check_mistakes(config, checked.typed_keys, conf, runnable=runnable)
    checked.raise_mistakes()
    return config, tree


def compose_for_run(command: str, checked: Any, conf: Conf) -> Any:
    """The tree that the right overrides give; None, and one more mistake, where even these don't compose."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from trainer.config.hydra_loader import load
    from trainer.core.errors import ConfigError

    ours = [typed.override for typed in checked.overrides if not typed.override.is_hydra_override()]
    try:
        tree, mistakes = load(command, ours, conf)
        checked.mistakes += mistakes
        return tree
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        checked.mistakes.append(error_reason(error))
        return None


def to_dataclass(tree: DictConfig, mistakes: list[str]) -> Any:
    """The tree's dataclass, interpolations resolved; None, and one more mistake, where one leads nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        mistakes.append(error_reason(error))
        return None


def error_reason(error: BaseException) -> str:
    """What Hydra or OmegaConf says, in one line, with what lies below it."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        lines = [line.strip() for line in str(current).splitlines() if line.strip()]
        text = " ".join(
            line for line in lines if not line.startswith(("object_type=", "reference_type=", "See http"))
        )
        if text and not any(text in part for part in parts):
            parts.append(text)
        current = current.__cause__
    text = ": ".join(parts) or type(error).__name__
    return text + _hint(text)


def _hint(text: str) -> str:
    """The nearest key where a file has one that isn't there."""
    found = re.search(r"Key '[^']*' not in '\w+' full_key: (\S+)", text)
    return (
        did_you_mean(found[1], {key: 0 for schema in COMMANDS.values() for key in fields_of(schema)})
        if found
        else ""
    )
