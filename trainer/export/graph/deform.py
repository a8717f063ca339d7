"""Deformable convolutions in plain torch: mmcv's own are opaque to the exporters, and their compiled code isn't there
where a file is run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def in_plain_torch(model: nn.Module) -> bool:
    """Put plain forms in the place of mmcv's deformable convolutions, in ``model`` itself; whether there were any."""
    from mmcv.ops import DeformConv2d, DeformConv2dPack, ModulatedDeformConv2d, ModulatedDeformConv2dPack

    found = False
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, (DeformConv2dPack, ModulatedDeformConv2dPack)):
                setattr(parent, name, SelfOffset(layer))
            elif isinstance(layer, (DeformConv2d, ModulatedDeformConv2d)):
                setattr(parent, name, Deformable(layer))
            else:
                continue
            found = True
    return found


class Deformable(nn.Module):
    """A convolution whose samples are taken at offsets, weighted where it is modulated (DCN v1 and v2).

    Args:
        layer: mmcv's ``DeformConv2d`` or ``ModulatedDeformConv2d``.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, getattr(layer, "bias", None)
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
        self.groups, self.offset_groups = layer.groups, layer.deform_groups
        self.kernel = int(layer.weight.shape[2]), int(layer.weight.shape[3])

    def forward(self, x: Tensor, offsets: Tensor, masks: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, out, H', W').

        Args:
            offsets: (N, 2 * groups * kernel, H', W') in px: of each group, of each place of the kernel, y before x.
            masks: (N, groups * kernel, H', W') what each sample is multiplied by.
        """
        high, wide = self.kernel
        rows, columns = _grid(offsets, self.stride, self.padding)
        parts = x.reshape(-1, x.shape[1] // self.offset_groups, *x.shape[2:])  # (N * groups, ...)
        answer: Any = 0
        for place in range(high * wide):
            row, column = divmod(place, wide)
            down, across = (offsets[:, 2 * place + axis :: 2 * high * wide].flatten(0, 1) for axis in (0, 1))
            values = sample(
                parts, down + rows + row * self.dilation[0], across + columns + column * self.dilation[1]
            )
            if masks is not None:
                values = values * masks[:, place :: high * wide].flatten(0, 1).unsqueeze(1)
            values = values.reshape(-1, x.shape[1], *offsets.shape[2:])
            weight = self.weight[:, :, row : row + 1, column : column + 1]
            answer = answer + functional.conv2d(values, weight, groups=self.groups)
        return answer if self.bias is None else answer + self.bias.view(1, -1, 1, 1)


class SelfOffset(Deformable):
    """The kind that finds its offsets itself, by a convolution of its own.

    Args:
        layer: mmcv's ``DeformConv2dPack`` or ``ModulatedDeformConv2dPack``.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.conv_offset = layer.conv_offset
        self.moves = 2 * self.offset_groups * self.kernel[0] * self.kernel[1]
        self.modulated = layer.conv_offset.out_channels > self.moves

    def forward(self, x: Tensor, *_: Any) -> Tensor:  # type: ignore[override]
        found = self.conv_offset(x)
        masks = found[:, self.moves :].sigmoid() if self.modulated else None
        return super().forward(x, found[:, : self.moves], masks)


def sample(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear values of (B, C, H, W) at places (B, h, w) in px -> (B, C, h, w); 0 outside."""
    high, wide = features.shape[2:]
    grid = torch.stack([(2 * x + 1) / wide - 1, (2 * y + 1) / high - 1], -1)
    return functional.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def shifted(features: Tensor, offsets: Tensor) -> Tensor:
    """Each channel (N, C, H, W) at its own offsets (N, 2 * C, H, W) in px, y before x."""
    rows, columns = _grid(offsets, (1, 1), (0, 0))
    y, x = offsets[:, 0::2].flatten(0, 1) + rows, offsets[:, 1::2].flatten(0, 1) + columns
    return sample(features.flatten(0, 1).unsqueeze(1), y, x).reshape(features.shape)


def _grid(like: Tensor, stride: Any, padding: Any) -> tuple[Tensor, Tensor]:
    """Where the window of each place of a map begins: rows (H, 1) and columns (1, W) in px of the input."""
    high, wide = like.shape[2:]
    rows = torch.arange(high, device=like.device).to(like.dtype) * stride[0] - padding[0]
    columns = torch.arange(wide, device=like.device).to(like.dtype) * stride[1] - padding[1]
    return rows.unsqueeze(1), columns.unsqueeze(0)
