"""Mask2Former's pixel decoder with sizes that can be traced; mmdet's and mmseg's models share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.export.graph.attention import extent
from trainer.export.graph.layers import sides


def replace_pixel_decoder(head: Any, dynamic: bool) -> None:
    """Put :class:`PixelDecoder` in the place of a head's, where it has deformable attention; its other layers must be
    exportable already."""
    decoder = getattr(head, "pixel_decoder", None)
    if type(decoder).__name__ == "MSDeformAttnPixelDecoder":
        head.pixel_decoder = PixelDecoder(decoder, dynamic)


class PixelDecoder(nn.Module):
    """MSDeformAttnPixelDecoder: features of several strides -> mask features, and the levels the queries look at."""

    def __init__(self, decoder: Any, dynamic: bool) -> None:
        super().__init__()
        self.decoder, self.dynamic = decoder, dynamic

    def forward(self, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        decoder = self.decoder
        inputs, positions, references, shapes = [], [], [], []
        for index in range(decoder.num_encoder_levels):
            level = decoder.num_input_levels - index - 1
            feat = feats[level]
            height, width = sides(feat, self.dynamic)
            shapes.append((height, width))
            inputs.append(decoder.input_convs[index](feat).flatten(2).transpose(1, 2))
            # Nothing of the picture counts as padding here.
            position = decoder.postional_encoding(torch.zeros_like(feat[:, 0], dtype=torch.bool))
            position = position + decoder.level_encoding.weight[index].view(1, -1, 1, 1)
            positions.append(position.flatten(2).transpose(1, 2))
            stride = decoder.strides[level]
            points = decoder.point_generator.single_level_grid_priors(
                (height, width), level, device=feat.device
            )
            references.append(points / (extent(points, height, width) * stride))
        query = torch.cat(inputs, 1)
        reference = torch.cat(references)[None, :, None].repeat(
            query.shape[0], 1, decoder.num_encoder_levels, 1
        )
        memory = decoder.encoder(
            query=query,
            query_pos=torch.cat(positions, 1),
            key_padding_mask=None,
            spatial_shapes=shapes,
            reference_points=reference,
            level_start_index=None,
            valid_ratios=None,
        ).transpose(1, 2)
        found, start = [], 0
        for height, width in shapes:
            level_memory = memory[:, :, start : start + height * width]
            found.append(level_memory.reshape(query.shape[0], -1, height, width))
            start = start + height * width
        for index in range(decoder.num_input_levels - decoder.num_encoder_levels - 1, -1, -1):
            lateral = decoder.lateral_convs[index](feats[index])
            size = sides(lateral, self.dynamic)
            larger = functional.interpolate(found[-1], size=size, mode="bilinear", align_corners=False)
            found.append(decoder.output_convs[index](lateral + larger))
        return decoder.mask_feature(found[-1]), found[: decoder.num_outs]
