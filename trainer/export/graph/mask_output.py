"""Masks as outputs: as uint8, and the boxes around them."""

from __future__ import annotations

import torch
from torch import Tensor


def as_bytes(probabilities: Tensor, *, half_is_object: bool = True) -> Tensor:
    """Probabilities from 0 to 1 as uint8; a pixel belongs to the object if it is at least 128.

    Args:
        half_is_object: whether exactly 0.5 becomes 128, or 127. The models' own thresholds differ in that.

    Returns:
        A uint8 tensor of the same shape.
    """
    if half_is_object:
        return (probabilities * 255).round().to(torch.uint8)
    shifted = probabilities * 255 + 0.5 - (probabilities <= 0.5).to(probabilities.dtype)
    return shifted.clamp(0, 255).to(torch.uint8)


def around(inside: Tensor) -> Tensor:
    """The smallest boxes (N, K, 4) xyxy around masks (N, K, H, W) of 0 and 1, ends excluded; 0 for empty masks."""
    x1, x2 = _span(inside.amax(2))
    y1, y2 = _span(inside.amax(3))
    return torch.stack((x1, y1, x2, y2), -1)


def _span(filled: Tensor) -> tuple[Tensor, Tensor]:
    """The first index of the ones in (N, K, L), and the last one plus 1: (N, K) each."""
    place = torch.ones_like(filled).cumsum(2)
    end = (filled * place).amax(2)
    # Counted from the far end, so that empty rows are 0 without a special value.
    length = place.amax(2)
    start = (length - (filled * (length.unsqueeze(2) - place + 1)).amax(2)) * (end > 0).to(end.dtype)
    return start, end
