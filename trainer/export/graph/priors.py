"""The places that a detector's answers are relative to: anchors and points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Priors(nn.Module):
    """Constants where the size is fixed, computed in the graph where it is open.

    Args:
        generator: mmdet's prior generator.
        maps: the feature maps of each level at the size that the graph is built for.
        extra: what else ``grid_priors`` is asked for (``with_stride``).
    """

    def __init__(self, generator: Any, maps: Any, dynamic: bool, **extra: Any) -> None:
        super().__init__()
        self.generator, self.dynamic, self.extra = generator, dynamic, extra
        levels = self._generate(maps)
        self.counts = [len(one) for one in levels]
        self.total = None if dynamic else sum(self.counts)
        if not dynamic:
            for level, priors in enumerate(levels):
                self.register_buffer(f"level_{level}", priors.float(), persistent=False)

    def forward(self, maps: Any) -> list[tuple[Tensor, int | None]]:
        """For each level priors (M, 2 or 4), and M where it is fixed."""
        if self.dynamic:
            return [(priors, None) for priors in self._generate(maps)]
        return [(getattr(self, f"level_{level}"), count) for level, count in enumerate(self.counts)]

    def _generate(self, maps: Any) -> list[Tensor]:
        sizes = [one.shape[-2:] for one in maps]
        with torch.no_grad():
            return self.generator.grid_priors(sizes, dtype=maps[0].dtype, device=maps[0].device, **self.extra)
