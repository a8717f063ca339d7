"""How much of a model's answers hangs on the last bits of its numbers.

Two runtimes add the same numbers in another order. Where many scores are nearly the same, as those of a hardly trained
detector are, that decides which boxes are duplicates of which, and another box stays. PyTorch itself then answers
otherwise when its weights change by so little that no runtime could notice.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.export.proof.compare import Agreement, Difference

AMOUNT = 1e-6
"""A change of the weights, as a share of each: what is left of float32's accuracy after a long sum."""
TOLERANCE = 1e-3
"""The usual limit of a difference; who sets a smaller one wants it to hold, whatever hangs on rounding."""
FEWER, FURTHER = 0.9, 2.0
"""Of as many of PyTorch's own answers that are the same, the share that a file must have, and how much further apart
than they its answers may be."""


@dataclass(frozen=True)
class Rounding:
    """How far PyTorch's answers are from its own with weights that differ by :data:`AMOUNT`.

    Attributes:
        share: of answers that are the same.
        relative: largest difference of each output as a share of its largest value.
    """

    share: float
    relative: dict[str, float]

    @classmethod
    def of(cls, differences: Sequence[Difference], agreement: Agreement) -> Rounding:
        return cls(agreement.share, {one.output: one.relative for one in differences})

    def least_share(self, asked: float) -> float:
        """The share of the same answers that can be asked for."""
        return min(asked, FEWER * self.share)

    def most(self, output: str, asked: float) -> float:
        """The relative difference of an output that can be asked for."""
        return max(asked, FURTHER * self.relative.get(output, 0.0))


def nudged(graph: Any) -> Any:
    """A copy of a graph or a model, each weight changed at random by up to :data:`AMOUNT` of itself."""
    import torch

    graph = copy.deepcopy(graph)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in graph.parameters():
            if weight.is_floating_point():
                noise = torch.rand(weight.shape, generator=random, dtype=weight.dtype) * 2 - 1
                weight.mul_(1 + noise * AMOUNT)
    return graph
