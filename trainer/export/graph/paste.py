"""Putting the masks of boxes into the picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def paste(masks: Tensor, boxes: Tensor, high: Any, wide: Any) -> Tensor:
    """Masks of boxes as masks of the whole picture, as mmdet's bilinear pasting.

    A box is aligned with the picture's axes, so rows and columns are interpolated one after the other, by two matrix
    products; that needs no sampling operator and no memory beside the answer.

    Args:
        masks: (N, K, h, w) probabilities.
        boxes: (N, K, 4) xyxy in px.
        high, wide: of the picture, px.

    Returns:
        (N, K, high, wide) probabilities, 0 outside the boxes.
    """
    rows = _shares(boxes[..., 1], boxes[..., 3], high, masks.shape[-2])
    columns = _shares(boxes[..., 0], boxes[..., 2], wide, masks.shape[-1])
    return rows @ (masks @ columns.transpose(-1, -2))


def _shares(start: Tensor, end: Tensor, length: Any, cells: int) -> Tensor:
    """How much of each of the ``cells`` each px along the picture shows: (N, K) twice -> (N, K, length, cells)."""
    pixels = torch.arange(length, device=start.device).to(start.dtype) + 0.5
    side = (end - start).clamp(min=1e-6)
    places = (pixels - start.unsqueeze(-1)) / side.unsqueeze(-1) * cells - 0.5
    centres = torch.arange(cells, device=start.device).to(start.dtype)
    return (1 - (places.unsqueeze(-1) - centres).abs()).clamp(min=0)
