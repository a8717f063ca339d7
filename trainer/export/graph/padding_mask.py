"""Where a picture ends and its padding begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def valid_sides(pixels: Tensor, preprocessor: Any) -> tuple[Tensor, Tensor]:
    """Height and width (N,) in px of what isn't padding at the bottom and the right of ``pixels`` (N, 3, H, W).

    Padding is what mmdet pads batches with after normalising: 0, or within half a grey value of it where uint8 was
    padded with the rounded mean colour.

    Args:
        preprocessor: the model's ``data_preprocessor``.
    """
    std = getattr(preprocessor, "std", None)
    if std is None:
        std = pixels.new_ones(3, 1, 1)
    filled = (pixels * std.view(1, -1, 1, 1)).abs().amax(1) > 0.51
    return _last(filled.any(2)), _last(filled.any(1))


def _last(filled: Tensor) -> Tensor:
    """How many of each row (N, L) there are up to the last filled one; at least one."""
    flags = filled.float()
    return (flags * torch.ones_like(flags).cumsum(1)).amax(1).clamp(min=1)
