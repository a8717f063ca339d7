"""Normalising inside the graph, for inputs that are pictures as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Preprocess(nn.Module):
    """uint8 RGB (N, 3, H, W) -> what the network's own data preprocessor makes of it; padding is the caller's.

    Args:
        preprocessor: the model's ``data_preprocessor``.
    """

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        # Pictures are loaded as BGR; what converts them makes them RGB, which the input is already.
        self.flip = not getattr(preprocessor, "_channel_conversion", False)
        mean = getattr(preprocessor, "mean", None)
        std = getattr(preprocessor, "std", None)
        self.normalise = bool(getattr(preprocessor, "_enable_normalize", mean is not None))
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.zeros(shape[:1] + (1, 1, 1)) if mean is None else mean.view(shape))
        self.register_buffer("std", torch.ones(shape[:1] + (1, 1, 1)) if std is None else std.view(shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images.float()
        if self.flip:
            values = torch.cat([values[:, 2:3], values[:, 1:2], values[:, 0:1]], 1)
        return (values - self.mean) / self.std if self.normalise else values
