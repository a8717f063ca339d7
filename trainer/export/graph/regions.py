"""Features of boxes from a pyramid, each box from the level that fits its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.export.graph.roi_align import roi_align


def check_extractor(extractor: Any) -> None:
    """
    Raises:
        ValueError: it doesn't take each box from one level by RoIAlign.
    """
    from mmcv.ops import RoIAlign
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    if type(extractor) is not SingleRoIExtractor:
        raise ValueError(f"no graph is known for the region extractor {type(extractor).__name__}")
    for layer in extractor.roi_layers:
        if not isinstance(layer, RoIAlign) or layer.pool_mode != "avg":
            raise ValueError(f"no graph is known for the region layer {type(layer).__name__}")


def regions(features: Sequence[Tensor], boxes: Tensor, valid: Tensor, extractor: Any) -> Tensor:
    """What mmdet's ``SingleRoIExtractor`` answers.

    Every level is asked for every box, but for those of other levels as an empty box, which costs nothing and
    answers 0; so shapes don't depend on the picture.

    Args:
        features: (N, C, H, W) a level.
        boxes: (N, P, 4) xyxy in px.
        valid: (N, P); other rows answer 0.

    Returns:
        (N * P, C, h, w).
    """
    flat = boxes.flatten(0, 1)
    count = boxes.shape[1]
    picture = torch.arange(boxes.shape[0], device=boxes.device).unsqueeze(1).expand(-1, count).reshape(-1)
    layers = extractor.roi_layers
    sides = flat[:, 2:] - flat[:, :2]
    scale = (sides[:, 0] * sides[:, 1]).sqrt()
    level = (scale / extractor.finest_scale + 1e-6).log2().floor().clamp(0, len(layers) - 1)
    answer: Any = 0
    for number, layer in enumerate(layers):
        here = ((level == number) if len(layers) > 1 else (level == level)) & (valid.flatten() > 0)
        mine = torch.where(here.unsqueeze(1), flat, torch.zeros_like(flat))
        pooled = roi_align(features[number], mine, picture, layer)
        if layer.sampling_ratio > 0 or not layer.aligned:  # then an empty box is sampled, too
            pooled = pooled * here.to(pooled.dtype).view(-1, 1, 1, 1)
        answer = answer + pooled
    return answer
