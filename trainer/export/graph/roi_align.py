"""Features of regions: ONNX's own RoiAlign in ONNX, plain operators everywhere else; both average as mmcv's does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def roi_align(features: Tensor, boxes: Tensor, pictures: Tensor, layer: Any) -> Tensor:
    """What mmcv's ``RoIAlign`` layer answers.

    Args:
        features: (N, C, H, W).
        boxes: (R, 4) xyxy in px of the network's input. An empty one answers 0 (with adaptive sampling).
        pictures: (R,) int64, which of the N each box is of.
        layer: mmcv's layer.

    Returns:
        (R, C, h, w) of the layer's output size.
    """
    settings = (
        float(layer.spatial_scale),
        int(layer.output_size[0]),
        int(layer.output_size[1]),
        int(layer.sampling_ratio),
        bool(layer.aligned),
    )
    if torch.onnx.is_in_onnx_export():
        return _RoiAlign.apply(features, boxes, pictures, *settings)
    return _pooled(features, boxes, pictures, *settings)


class _RoiAlign(torch.autograd.Function):
    """ONNX's RoiAlign."""

    @staticmethod
    def forward(  # type: ignore[override]
        _: Any,
        features: Tensor,
        boxes: Tensor,
        pictures: Tensor,
        scale: float,
        high: int,
        wide: int,
        *__: Any,
    ) -> Tensor:
        # Only run while the exporter traces, when the form counts and the values don't.
        return features.new_zeros(boxes.shape[0], features.shape[1], high, wide)

    @staticmethod
    def symbolic(
        g: Any,
        features: Any,
        boxes: Any,
        pictures: Any,
        scale: float,
        high: int,
        wide: int,
        ratio: int,
        aligned: bool,
    ) -> Any:
        # Before opset 16 there is only the form without the half pixel, and no attribute to say so.
        mode = {"coordinate_transformation_mode_s": "half_pixel" if aligned else "output_half_pixel"}
        return g.op(
            "RoiAlign",
            features,
            boxes,
            pictures,
            **(mode if g.opset >= 16 else {}),
            mode_s="avg",
            output_height_i=high,
            output_width_i=wide,
            sampling_ratio_i=ratio,
            spatial_scale_f=scale,
        )


@torch.jit.script
def _pooled(
    features: Tensor,
    boxes: Tensor,
    pictures: Tensor,
    scale: float,
    high: int,
    wide: int,
    ratio: int,
    aligned: bool,
) -> Tensor:
    H, W = features.size(2), features.size(3)
    channels = features.size(1)
    corners = boxes * scale - (0.5 if aligned else 0.0)
    sides = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1)
    bins = sides / torch.tensor([wide, high], dtype=sides.dtype)
    # How many samples a bin takes along y and x; boxes that take as many are pooled together.
    if ratio > 0:
        counts = torch.full_like(bins, ratio).to(torch.int64)
    else:
        counts = bins.ceil().clamp(min=0).to(torch.int64)
    answer = features.new_zeros([boxes.size(0), channels, high, wide])
    rows = features.permute(0, 2, 3, 1).reshape(-1, channels)
    some = ((counts > 0).all(1)).nonzero().squeeze(1)
    kinds = torch.unique(counts[some], dim=0)
    for kind in range(kinds.size(0)):
        across, down = int(kinds[kind, 0]), int(kinds[kind, 1])
        same = (counts == kinds[kind]).all(1).nonzero().squeeze(1)
        # Bounded memory: about a million samples at a time.
        for chunk in same.split(max(1, 1048576 // (across * down * high * wide * 16))):
            x = corners[chunk, 0:1] + bins[chunk, 0:1] * (
                (torch.arange(wide * across, dtype=bins.dtype) + 0.5) / across
            )
            y = corners[chunk, 1:2] + bins[chunk, 1:2] * (
                (torch.arange(high * down, dtype=bins.dtype) + 0.5) / down
            )
            inside = ((y >= -1) & (y <= H)).unsqueeze(2) & ((x >= -1) & (x <= W)).unsqueeze(1)
            x, y = x.clamp(0, W - 1), y.clamp(0, H - 1)
            left, top = x.floor(), y.floor()
            right_share, low_share = (x - left).unsqueeze(1), (y - top).unsqueeze(2)
            west, north = left.to(torch.int64).unsqueeze(1), top.to(torch.int64).unsqueeze(2)
            east, south = (west + 1).clamp(max=W - 1), (north + 1).clamp(max=H - 1)
            start = (pictures[chunk] * (H * W)).view(-1, 1, 1)
            upper = rows[start + north * W + west] * (1 - right_share).unsqueeze(3)
            upper = upper + rows[start + north * W + east] * right_share.unsqueeze(3)
            lower = rows[start + south * W + west] * (1 - right_share).unsqueeze(3)
            lower = lower + rows[start + south * W + east] * right_share.unsqueeze(3)
            low_share = low_share.unsqueeze(3)
            values = (upper * (1 - low_share) + lower * low_share) * inside.unsqueeze(3)
            bin_means = values.view(-1, high, down, wide, across, channels).mean([2, 4])
            answer[chunk] = bin_means.permute(0, 3, 1, 2)
    return answer
