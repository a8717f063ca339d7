"""Parameter groups for fine-tuning: lower rates for earlier stages of the backbone, nothing for what is frozen."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from trainer.core.errors import ConfigError
from trainer.engine.backbone_stages import stages


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StagedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Another constructor's groups, with each stage's rate lowered and equal groups put together.

    Args:
        optim_wrapper_cfg: the wrapper's config, ``optimizer`` in it.
        paramwise_cfg: what the other constructor takes (``norm_decay_mult``, ``custom_keys``, ...), and
            ``layer_decay``: stage i of n learns at ``layer_decay ** (n - i)`` times its rate, the stem being
            stage 0; everything outside the backbone at its own; ``within``: the other constructor's type.

    Raises:
        ConfigError: on call, where the backbone's parts show no stages.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        # Without any rule mmengine takes all parameters, frozen ones too.
        rules = {"bypass_duplicate": True, **(paramwise_cfg or {})}
        self.decay = rules.pop("layer_decay", None)
        within = rules.pop("within", None) or "DefaultOptimWrapperConstructor"
        super().__init__(optim_wrapper_cfg, rules)
        self.other = OPTIM_WRAPPER_CONSTRUCTORS.build(
            {"type": within, "optim_wrapper_cfg": optim_wrapper_cfg, "paramwise_cfg": rules}
        )

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", is_dcn_module: Any = None
    ) -> None:
        """Add the groups of a whole model to ``params``."""
        found: list[dict[str, Any]] = []
        self.other.add_params(found, module)
        factors = _factors(module, self.decay) if self.decay is not None else {}
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        merged: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
        for group in found:
            for parameter in group["params"]:
                settings: dict[str, Any] = {key: value for key, value in group.items() if key != "params"}
                factor = factors.get(names[id(parameter)], 1.0)
                if factor != 1.0:
                    rate: Any = settings.get("lr", self.base_lr)
                    settings["lr"] = rate * factor
                key = tuple(sorted(settings.items()))
                merged.setdefault(key, {**settings, "params": []})["params"].append(parameter)
        params.extend(merged.values())


def _factors(model: nn.Module, decay: float) -> dict[str, float]:
    """The rate's factor of each parameter of the backbone by its name in the model."""
    backbone: Any = getattr(model, "backbone", None)
    found = stages(backbone) if isinstance(backbone, nn.Module) else None
    if found is None:
        raise ConfigError(
            f"optimizer.layer_decay: it can't be told which parts of {type(backbone).__name__} are stages; "
            "optimizer.backbone_lr_mult gives all of it one rate"
        )
    return {
        f"backbone.{name}": decay ** (found.count - found.of[name]) for name, _ in backbone.named_parameters()
    }
