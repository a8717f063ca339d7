"""``model.freeze``: a backbone's first stages, or all of it, keep the weights and statistics that they start with."""

from __future__ import annotations

from typing import Any

from trainer.config_tree.traverse import Cfg, dicts, of_type, type_name
from trainer.core.errors import ConfigError

# Backbones with a ``frozen_stages`` of their own, and how many stages they have (None: that depends on the rest).
OWN: dict[str, int | None] = {
    **dict.fromkeys(("ResNet", "ResNetV1c", "ResNetV1d", "ResNeXt", "RegNet", "Res2Net", "ResNeSt"), 4),
    **dict.fromkeys(("DetectoRS_ResNet", "DetectoRS_ResNeXt", "SEResNet", "SEResNeXt", "SCNet"), 4),
    **dict.fromkeys(("ViPNAS_ResNet", "HRNet", "HRFormer", "SwinTransformer", "CSPDarknet", "CSPNeXt"), 4),
    **dict.fromkeys(("TridentResNet", "ShuffleNetV1", "ShuffleNetV2"), 3),
    **dict.fromkeys(("Darknet", "VGG"), 5),
    **dict.fromkeys(("EfficientNet", "MobileNetV2", "MobileNetV3", "ViPNAS_MobileNetV3"), None),
}
_WITHOUT = {("mmdet", "HRNet")}  # one package's HRNet has none


def set_freeze(cfg: Cfg, freeze: int | str | None) -> list[str]:
    """Freeze as OpenMMLab's ``frozen_stages`` counts: -1 nothing, 0 the stem, n the stem and the first n stages.

    Args:
        freeze: such a number, ``backbone`` for all of it, or None for what the base says.

    Returns notes for the user.

    Raises:
        ConfigError: no backbone, or fewer stages than that.
    """
    if freeze is None:
        return []
    backbone = cfg["model"].get("backbone")
    if not isinstance(backbone, dict) or "type" not in backbone:
        raise ConfigError(
            f"model.freeze={freeze}: this model has no backbone of its own; "
            "mm.optim_wrapper.paramwise_cfg.custom_keys={<part of a name>: {lr_mult: 0}} holds any part of it"
        )
    if freeze == "backbone":
        _by_structure(backbone, "all")
    elif has_own(backbone, str(cfg.get("default_scope"))):
        count = number_of_stages(backbone)
        if count is not None and int(freeze) > count:
            raise ConfigError(
                f"model.freeze={freeze}: {type_name(backbone)} has {count} stages; 0 is the stem alone, "
                f"{count} all of them, -1 none"
            )
        backbone["frozen_stages"] = int(freeze)
    elif int(freeze) >= 0:
        _by_structure(backbone, int(freeze))
    if freeze == -1 or cfg.get("load_from") or _pretrained(backbone):
        return []
    return [
        f"model.freeze={freeze} without pretrained weights: what is frozen stays as it is drawn at random"
    ]


def has_own(backbone: Cfg, scope: str) -> bool:
    """Whether the backbone's class takes ``frozen_stages``."""
    if "frozen_stages" in backbone:
        return True
    kind = type_name(backbone)
    prefix = str(backbone["type"]).rpartition(".")[0] or backbone.get("_scope_") or scope
    return kind in OWN and (prefix, kind) not in _WITHOUT


def number_of_stages(backbone: Cfg) -> int | None:
    """How many stages a backbone with ``frozen_stages`` has; None where its config doesn't tell."""
    for key in ("depths", "num_stages"):
        value = backbone.get(key)
        if isinstance(value, (list, tuple)):
            return len(value)
        if isinstance(value, int):
            return value
    count = OWN.get(type_name(backbone))
    return 5 if str(backbone.get("arch")) == "P6" else count


def _pretrained(backbone: Cfg) -> bool:
    named = any(isinstance(node.get("pretrained"), str) for node in dicts(backbone))
    return named or any(of_type(backbone, "Pretrained"))


def _by_structure(backbone: Cfg, stages: Any) -> None:
    """Our builder in the type's place: it makes what ``of`` names, and freezes it."""
    backbone["of"], backbone["type"] = backbone["type"], "FrozenBackbone"
    backbone["frozen_stages"] = stages
