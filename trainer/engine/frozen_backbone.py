"""Freezing a backbone that has no ``frozen_stages`` of its own, or all of any backbone."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from trainer.core.errors import ConfigError
from trainer.engine.backbone_stages import stages


@MODELS.register_module(name="FrozenBackbone")
def frozen_backbone(of: Any, frozen_stages: int | str, **options: Any) -> nn.Module:
    """Build the backbone ``of`` (a type in the current scope) with its options, and freeze it; its weights keep
    their names.

    Args:
        frozen_stages: 0 for the stem, n for the stem and the first n stages, ``all`` for everything.

    Raises:
        ConfigError: the backbone's parts show no stages, or fewer than that.
    """
    network = MODELS.build({"type": of, **options})
    freeze(network, frozen_stages)
    return network


def freeze(network: nn.Module, upto: int | str) -> None:
    """Fix parameters, and normalisation's statistics and dropout too, whatever ``train()`` is called later."""
    frozen = _frozen_parts(network, upto)
    for name, parameter in network.named_parameters():
        if frozen is None or name in frozen:
            parameter.requires_grad_(False)
    kind: Any = type(network)
    network.__class__ = _holding(kind)
    network.frozen_parts = frozen  # type: ignore[assignment]  # names, so that a copy of the network holds its own
    _hold(network)


def _frozen_parts(network: nn.Module, upto: int | str) -> frozenset[str] | None:
    """Names of frozen modules and parameters; None for all."""
    if upto == "all":
        return None
    kind = type(network).__name__
    found = stages(network)
    if found is None:
        raise ConfigError(
            f"model.freeze={upto}: it can't be told which parts of {kind} are stages; model.freeze=backbone "
            "freezes all of it"
        )
    if int(upto) > found.count:
        raise ConfigError(
            f"model.freeze={upto}: {kind} has {found.count} stages; 0 is the stem alone, backbone all of it"
        )
    return frozenset(name for name, stage in found.of.items() if stage <= int(upto))


@functools.cache
def _holding(kind: type[nn.Module]) -> type[nn.Module]:
    """The class with a ``train()`` after which frozen parts are in evaluation mode. It keeps its name."""

    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        kind.train(self, mode)
        _hold(self)
        return self

    return type(kind.__name__, (kind,), {"train": train, "__module__": kind.__module__})


def _hold(network: nn.Module) -> None:
    frozen: Any = network.frozen_parts
    for name, module in network.named_modules():
        if frozen is None or name in frozen:
            module.training = False
