"""Models that can only be exported for one size of picture, and why."""

from __future__ import annotations

from typing import Any

from torch import nn

from trainer.export.graph.graph import refuse
from trainer.export.graph.layers import is_one
from trainer.export.graph.options import GraphOptions

_POSITIONS = {"VisionTransformer", "BEiT", "MAE", "PyramidVisionTransformer", "PCPVT", "SVT", "ViT"}
"""Backbones with a learned embedding for each place."""


def refuse_dynamic(predictor: Any, options: GraphOptions, why: str = "") -> None:
    """Refuse ``dynamic_size`` for a model of one size.

    Args:
        why: the family's own reason; else what :func:`why_one_size` finds.

    Raises:
        FrameworkError: it is asked for and can't be.
    """
    why = why or why_one_size(predictor.model)
    if options.dynamic_size and why:
        raise refuse(predictor, f"dynamic_size=true: {why}; dynamic_size=false with the size that you need")


def why_one_size(model: Any) -> str:
    """Why a model can't be traced for any size of picture; empty where it can."""
    kinds = {type(one).__name__ for one in model.modules()}
    if any(isinstance(one, nn.AdaptiveAvgPool2d) and not is_one(one) for one in model.modules()):
        return "it pools its features to a grid whose cells depend on the picture's size"
    backbone = type(getattr(model, "backbone", None)).__name__
    if any("Window" in kind for kind in kinds):
        return f"its {backbone} cuts features into windows by the picture's size"
    if kinds & _POSITIONS:
        return f"its {backbone} stretches learned positions to the picture's size"
    if "HybridEncoder" in kinds:
        return "its HybridEncoder knows the places of one size"
    return ""
