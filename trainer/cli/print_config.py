"""``--cfg`` and ``--info``: what a command line composes to, without running it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema.conf_folders import Conf, config_name

if TYPE_CHECKING:
    from omegaconf import DictConfig


def print_config(tree: DictConfig, package: str | None = None, *, resolve: bool = False) -> int:
    """Print a configuration as YAML, or only what lies at ``package``."""
    from omegaconf import Container, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from trainer.core.yaml_io import dump_yaml

    shown: object = tree
    if package and package != "_global_":
        try:
            shown = OmegaConf.select(tree, package)
        except OmegaConfBaseException:
            shown = None
        if shown is None:
            hint = did_you_mean(package, map(str, tree))
            raise ConfigError(f"--package {package}: there is nothing at {package!r}.{hint}")
    if not isinstance(shown, Container):
        print(shown)
        return 0
    if package:
        print(f"# @package {package}")
    sys.stdout.write(dump_yaml(OmegaConf.to_container(shown, resolve=resolve)))
    return 0


def through_hydra(command: str, overrides: Sequence[str], conf: Conf, args: argparse.Namespace) -> int:
    """``--info``, ``--cfg hydra``, ``--cfg all`` and ``--hydra-help``, printed by Hydra itself."""
    from hydra.errors import HydraException

    from trainer.config.compose import error_reason
    from trainer.config.hydra_loader import QUIET, get_args_parser, whole_hydra
    from trainer.config.override_checks import check_overrides

    checked = check_overrides(command, overrides, conf)
    checked.raise_mistakes()
    texts = [typed.override.input_line or typed.text for typed in checked.overrides]
    typed = {text.partition("=")[0] for text in texts}
    texts += [text for text in QUIET if text.partition("=")[0] not in typed]
    hydra = whole_hydra(command, conf, [typed.override for typed in checked.overrides])
    name = config_name(command)
    try:
        if args.hydra_help:
            hydra.hydra_help(
                config_name=name, args_parser=get_args_parser(), args=argparse.Namespace(overrides=[])
            )
        elif args.info:
            hydra.show_info(args.info, config_name=name, overrides=texts)
        else:
            hydra.show_cfg(name, texts, args.cfg, args.package, resolve=args.resolve)
    except HydraException as error:
        raise ConfigError(error_reason(error)) from None
    return 0
