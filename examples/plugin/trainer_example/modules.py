"""What MMEngine's registries get from this package: a backbone and an optimizer.

Imported by the trainer wherever a model is built (entry-point group ``trainer.modules``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.registry import OPTIMIZERS
from torch import nn


@MODELS.register_module()
class ThreeStages(BaseModule):
    """A small convolutional backbone: strides 8, 16 and 32.

    Args:
        widths: channels of the three feature maps.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.stem = nn.Sequential(_block(3, widths[0], 2), _block(widths[0], widths[0], 2))
        before = (widths[0], *widths[:2])
        self.stages = nn.ModuleList(
            nn.Sequential(_block(inside, outside, 2), _block(outside, outside, 1))
            for inside, outside in zip(before, widths, strict=True)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, 3, H, W) to feature maps of H/8, H/16 and H/32."""
        features, maps = self.stem(images), []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return tuple(maps)


@OPTIMIZERS.register_module()
class SignSGD(torch.optim.Optimizer):
    """SGD by the sign of an averaged gradient (Bernstein et al. 2018)."""

    def __init__(
        self, params: Iterable, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("average", torch.zeros_like(weight))
                average.mul_(group["momentum"]).add_(weight.grad, alpha=1 - group["momentum"])
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(average.sign(), alpha=-group["lr"])


def _block(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )
