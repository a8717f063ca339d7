"""Attention in plain operators: torch's own (nn.MultiheadAttention) and mmcv's deformable one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shapes = list[tuple[int, int]]
"""(height, width) of each level; what the tracer follows in a graph of dynamic size."""


class Attention(nn.Module):
    """nn.MultiheadAttention with the same weights, for any length of its inputs: tracing the original fixes some.

    Args:
        layer: torch's, without added keys. Its call keeps its arguments; the second answer (weights) is None.
    """

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first, self.out_proj = layer.num_heads, layer.batch_first, layer.out_proj
        packed = layer.in_proj_weight
        weights = (
            packed.chunk(3)
            if packed is not None
            else (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        )
        self.weights = nn.ParameterList([nn.Parameter(one.detach().clone(), False) for one in weights])
        biases = () if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
        self.biases = nn.ParameterList([nn.Parameter(one.detach().clone(), False) for one in biases])

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        inputs = (query, key, value)
        if not self.batch_first:
            inputs = (query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1))
        q, k, v = (self._heads(one, index) for index, one in enumerate(inputs))
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
        if attn_mask is not None:
            if attn_mask.dim() == 3:  # (N * heads, L, S)
                attn_mask = attn_mask.reshape(-1, self.heads, *attn_mask.shape[1:])
            scores = _masked(scores, attn_mask)
        if key_padding_mask is not None:
            scores = _masked(scores, key_padding_mask[:, None, None])
        found = torch.matmul(scores.softmax(-1), v).transpose(1, 2).flatten(2)
        found = self.out_proj(found)
        return (found if self.batch_first else found.transpose(0, 1)), None

    def _heads(self, x: Tensor, index: int) -> Tensor:
        """(N, L, E) projected, as (N, heads, L, depth)."""
        x = functional.linear(x, self.weights[index], self.biases[index] if len(self.biases) else None)
        depth = self.weights[index].shape[0] // self.heads
        return x.reshape(x.shape[0], -1, self.heads, depth).transpose(1, 2)


class DeformableAttention(nn.Module):
    """mmcv's MultiScaleDeformableAttention with the same weights, in GridSample's terms.

    Args:
        layer: mmcv's. Its call keeps its arguments; ``spatial_shapes`` is a list of (height, width).
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            setattr(self, name, getattr(layer, name))
        for name in ("embed_dims", "num_heads", "num_levels", "num_points", "batch_first"):
            setattr(self, name, getattr(layer, name))

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Any = None,
        **_: Any,
    ) -> Tensor:
        assert reference_points is not None
        value = query if value is None else value
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        if not self.batch_first:
            query, value = query.transpose(0, 1), value.transpose(0, 1)
        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask[..., None], 0.0)
        found = self._sampled(query, value, reference_points, list(spatial_shapes))
        found = self.output_proj(found)
        return (found if self.batch_first else found.transpose(0, 1)) + identity

    def _sampled(self, query: Tensor, value: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        batch, queries = query.shape[:2]
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.sampling_offsets(query).view(batch, queries, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, queries, heads, levels * points).softmax(-1)
        weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, levels * points)
        depth = value.shape[2] // heads
        sampled, start = [], 0
        for level, (height, width) in enumerate(shapes):
            cells = value[:, start : start + height * width]
            start = start + height * width
            cells = cells.transpose(1, 2).reshape(batch * heads, depth, height, width)
            base = reference[:, :, None, level, None]
            if reference.shape[-1] == 2:
                places = base + offsets[:, :, :, level] / extent(query, height, width)
            else:
                places = base[..., :2] + offsets[:, :, :, level] / points * base[..., 2:] * 0.5
            grid = (2 * places - 1).transpose(1, 2).reshape(batch * heads, queries, points, 2)
            sampled.append(
                functional.grid_sample(
                    cells, grid, mode="bilinear", padding_mode="zeros", align_corners=False
                )
            )
        found = (torch.cat(sampled, -1) * weights).sum(-1)
        return found.view(batch, heads * depth, queries).transpose(1, 2)


def extent(like: Tensor, height: Any, width: Any) -> Tensor:
    """(width, height) as a tensor of two, also where they are symbols."""
    one = like.new_ones(1)
    return torch.cat((one * width, one * height))


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores with a mask: true leaves out, numbers are added."""
    return scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
