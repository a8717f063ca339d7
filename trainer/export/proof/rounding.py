"""How much a model's answers depend on the last bits of its numbers.

Two runtimes add the same numbers in different orders. If many scores are nearly equal, as those of a hardly trained
detector are, rounding decides which boxes are duplicates of which, and another box stays. PyTorch's own answers change
as well then, when its weights change by as little as rounding does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.export.proof.compare import Agreement, Difference

AMOUNT = 1e-6
"""The change of the weights, as a share of each: float32's accuracy after a long sum."""
TOLERANCE = 1e-3
"""The usual limit of a difference. A smaller one that the user sets is not relaxed."""
FEWER, FURTHER = 0.9, 2.0
"""A file must keep this share of what PyTorch's own answers keep, and may differ this many times as much as they do."""


@dataclass(frozen=True)
class Rounding:
    """How far PyTorch's answers move when its weights change by :data:`AMOUNT`.

    Attributes:
        share: the share of answers that stay the same, from 0 to 1.
        relative: the largest difference of each output as a share of its largest value.
    """

    share: float
    relative: dict[str, float]

    @classmethod
    def of(cls, differences: Sequence[Difference], agreement: Agreement) -> Rounding:
        """From the comparison of PyTorch with itself."""
        return cls(agreement.share, {difference.output: difference.relative for difference in differences})

    def least_share(self, limit: float) -> float:
        """The share of equal answers to demand of a file, at most ``limit``."""
        return min(limit, FEWER * self.share)

    def largest_difference(self, output: str, limit: float) -> float:
        """The relative difference of an output to allow a file, at least ``limit``."""
        return max(limit, FURTHER * self.relative.get(output, 0.0))


def nudged(graph: Any) -> Any:
    """A copy of a torch module, each weight changed at random by up to :data:`AMOUNT` of itself."""
    import torch

    graph = copy.deepcopy(graph)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in graph.parameters():
            if weight.is_floating_point():
                noise = torch.rand(weight.shape, generator=generator, dtype=weight.dtype) * 2 - 1
                weight.mul_(1 + noise * AMOUNT)
    return graph
