"""Masks as an answer."""

from __future__ import annotations

import torch
from torch import Tensor


def as_bytes(masks: Tensor) -> Tensor:
    """Probabilities as uint8: more than a half is 128 and above, a half and less at most 127."""
    return (masks * 255 + 0.5 - (masks <= 0.5).to(masks.dtype)).clamp(0, 255).to(torch.uint8)


def around(inside: Tensor) -> Tensor:
    """The boxes (N, K, 4) xyxy, ends excluded, that just hold masks (N, K, H, W) of 0 and 1; 0 where one is empty."""
    x1, x2 = _span(inside.amax(2))
    y1, y2 = _span(inside.amax(3))
    return torch.stack((x1, y1, x2, y2), -1)


def _span(filled: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 of the ones in (N, K, L)."""
    place = torch.ones_like(filled).cumsum(2)
    end = (filled * place).amax(2)
    # Counted from the far end, so that empty rows are 0 without a special value.
    length = place.amax(2)
    start = (length - (filled * (length.unsqueeze(2) - place + 1)).amax(2)) * (end > 0).to(end.dtype)
    return start, end
