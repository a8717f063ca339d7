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
    cells = features.permute(0, 2, 3, 1).reshape(-1, channels)
    some = ((counts > 0).all(1)).nonzero().squeeze(1)
    kinds = torch.unique(counts[some], dim=0)
    for kind in range(kinds.size(0)):
        across, down = int(kinds[kind, 0]), int(kinds[kind, 1])
        same = (counts == kinds[kind]).all(1).nonzero().squeeze(1)
        count = across * down
        # A bounded number of samples at a time.
        for chunk in same.split(max(1, 1048576 // (count * high * wide))):
            x = corners[chunk, 0:1] + bins[chunk, 0:1] * (
                (torch.arange(wide * across, dtype=bins.dtype) + 0.5) / across
            )
            y = corners[chunk, 1:2] + bins[chunk, 1:2] * (
                (torch.arange(high * down, dtype=bins.dtype) + 0.5) / down
            )
            inside_x, inside_y = ((x >= -1) & (x <= W)).to(x.dtype), ((y >= -1) & (y <= H)).to(y.dtype)
            x, y = x.clamp(0, W - 1), y.clamp(0, H - 1)
            left, top = x.floor(), y.floor()
            # Of each sample two columns and two rows, and how much each of them counts.
            columns = torch.stack([left, (left + 1).clamp(max=W - 1)], 2).to(torch.int64)
            rows = torch.stack([top, (top + 1).clamp(max=H - 1)], 2).to(torch.int64)
            column_shares = torch.stack([1 - (x - left), x - left], 2) * inside_x.unsqueeze(2)
            row_shares = torch.stack([1 - (y - top), y - top], 2) * inside_y.unsqueeze(2)
            # (boxes, high, wide, samples down, their rows, samples across, their columns)
            tall = [-1, high, 1, down, 2, 1, 1]
            broad = [-1, 1, wide, 1, 1, across, 2]
            start = (pictures[chunk] * (H * W)).view(-1, 1, 1, 1, 1, 1, 1)
            places = start + rows.view(tall) * W + columns.view(broad)
            shares = row_shares.view(tall) * column_shares.view(broad) / count
            bags = torch.embedding_bag(
                cells,
                places.view(-1),
                torch.arange(0, places.numel(), count * 4),
                mode=0,
                per_sample_weights=shares.view(-1),
            )[0]
            answer[chunk] = bags.view(-1, high, wide, channels).permute(0, 3, 1, 2)
    return answer
