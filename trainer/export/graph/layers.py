"""A model's layers in a form that every exporter can write: plain operators, and sizes that may be symbols."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.export.graph.attention import Attention, DeformableAttention


def make_exportable(model: nn.Module) -> None:
    """Replace layers of ``model`` (a graph's own copy) by exportable ones that give the same answers."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            new = _exportable(child)
            if new is not child:
                setattr(parent, name, new.eval())
        if hasattr(parent, "window_reverse") and hasattr(parent, "window_size"):
            parent.window_reverse = partial(_window_reverse, parent.window_size)


def sides(x: Tensor, dynamic: bool) -> tuple[int, int]:
    """(height, width) of a feature map: constants in a graph of one size, else what the tracer follows."""
    height, width = x.shape[-2:]
    return (height, width) if dynamic else (int(height), int(width))


def samples_grids(model: nn.Module) -> bool:
    """Whether an exportable model needs ONNX's GridSample."""
    return any(isinstance(one, DeformableAttention) for one in model.modules())


class GridPool(nn.Module):
    """Adaptive average pooling to (rows, columns) for inputs of one size, as two products with constant matrices.

    ONNX has no such operator, and the exporters write it only where the size is a multiple of the grid's.
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        rows, columns = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        self.output_size = (rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.output_size
        height, width = int(x.shape[-2]), int(x.shape[-1])
        down = _means(height, rows or height).to(x)
        across = _means(width, columns or width).to(x)
        return torch.matmul(torch.matmul(down, x), across.t())


class Larger(nn.Module):
    """mmseg's Upsample by a whole factor; its own fixes the size when it is traced."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = int(layer.scale_factor), layer.mode, layer.align_corners

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        size = (height * self.factor, width * self.factor)
        return functional.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)


class FixedBases(nn.Module):
    """SegNeXt's matrix decomposition with its starting bases as a constant; compat.py makes them the same for every
    answer."""

    def __init__(self, layer: Any, channels: int) -> None:
        super().__init__()
        self.layer = layer
        bases = layer._build_bases(1, layer.S, channels // layer.S, layer.R, device="cpu")
        self.register_buffer("bases", bases, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        layer = self.layer
        x = x.reshape(batch * layer.S, channels // layer.S, height * width)
        bases, coef = layer.local_inference(x, self.bases.repeat(batch, 1, 1))
        coef = layer.compute_coef(x, bases, coef)
        return torch.bmm(bases, coef.transpose(1, 2)).reshape(batch, channels, height, width)


def _exportable(layer: nn.Module) -> nn.Module:
    kind = type(layer).__name__
    if isinstance(layer, nn.AdaptiveAvgPool2d) and not is_one(layer):
        return GridPool(layer.output_size)
    if kind == "Upsample" and not isinstance(layer, nn.Upsample) and _whole(layer):
        return Larger(layer)
    if kind == "Hamburger":
        layer.ham = FixedBases(layer.ham, layer.ham_out.in_channels)
    if isinstance(layer, nn.MultiheadAttention) and layer.bias_k is None and not layer.add_zero_attn:
        return Attention(layer)
    if kind == "MultiScaleDeformableAttention":
        return DeformableAttention(layer)
    return layer


def _window_reverse(window: int, windows: Tensor, height: Any, width: Any) -> Tensor:
    """Swin's windows (N * windows, w, w, C) as (N, H, W, C) again, for any N; its own fixes N."""
    rows, columns, channels = height // window, width // window, windows.shape[-1]
    x = windows.view(-1, rows, columns, window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * window, columns * window, channels)


def _whole(layer: Any) -> bool:
    return not layer.size and isinstance(layer.scale_factor, float) and layer.scale_factor.is_integer()


def is_one(layer: Any) -> bool:
    return layer.output_size in (1, (1, 1), [1, 1])


def _means(cells: int, groups: int) -> Tensor:
    """(groups, cells): each row takes the mean of its cells, as torch's adaptive pooling divides them."""
    weights = torch.zeros(groups, cells)
    for group in range(groups):
        first, last = group * cells // groups, math.ceil((group + 1) * cells / groups)
        weights[group, first:last] = 1 / (last - first)
    return weights
