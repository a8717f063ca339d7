"""TOOD: the head moves its own scores and boxes to learned places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.deform import shifted
from trainer.export.graph.dense import STEPS, Dense
from trainer.export.graph.graph import Graph, refuse
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.top_rows import rows_of


def fits(model: Any) -> bool:
    """A single-stage detector with TOOD's own head."""
    from mmdet.models.dense_heads import TOODHead

    head = getattr(model, "bbox_head", None)
    return isinstance(head, TOODHead) and all(
        getattr(type(head), step) is getattr(TOODHead, step) for step in (*STEPS, "forward")
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    try:
        return Tood(predictor, options)
    except ValueError as error:
        raise refuse(predictor, str(error)) from None


class Tood(Dense):
    """The head's forward is written anew: its own repeats anchors by a Python loop over the pictures."""

    cuts = False
    min_opset = 16
    min_opset_reason = "where GridSample is: its head samples at learned places"

    def scores(self, logits: Tensor) -> Tensor:
        return logits  # probabilities already

    def deltas(self, reg: Tensor, level: int, count: int | None) -> Tensor:
        return rows_of(reg, 4, count) * self.model.bbox_head.prior_generator.strides[level][0]

    def decode(self, priors: Tensor, deltas: Tensor) -> Tensor:
        return deltas

    def _maps(self, pixels: Tensor) -> Any:
        head: Any = self.model.bbox_head
        found = [
            self._level(x, level, scale, head.prior_generator.strides[level][0])
            for level, (x, scale) in enumerate(zip(self.model.extract_feat(pixels), head.scales, strict=True))
        ]
        return tuple(zip(*found, strict=True))

    def _level(self, x: Tensor, level: int, scale: Any, stride: int) -> tuple[Tensor, Tensor]:
        """A level's probabilities (N, C, H, W) and boxes (N, 4, H, W) in units of the stride."""
        head: Any = self.model.bbox_head
        high, wide = x.shape[2:]
        anchors = head.prior_generator.single_level_grid_priors((high, wide), level, device=x.device)
        layers = []
        for layer in head.inter_convs:
            x = layer(x)
            layers.append(x)
        features = torch.cat(layers, 1)
        mean = functional.adaptive_avg_pool2d(features, (1, 1))
        logits, aligned = head.tood_cls(head.cls_decomp(features, mean)), head.cls_prob_module(features)
        scores = (logits.sigmoid() * aligned.sigmoid()).sqrt()
        reg = head.tood_reg(head.reg_decomp(features, mean))
        if head.anchor_type == "anchor_free":
            left, top, right, bottom = scale(reg.exp()).float().unbind(1)
            centre = (head.anchor_center(anchors) / stride).reshape(high, wide, 2)
            across, down = centre[..., 0], centre[..., 1]
            boxes = torch.stack([across - left, down - top, across + right, down + bottom], 1)
        else:
            rows = rows_of(scale(reg).float(), 4, None)
            priors = anchors.unsqueeze(0).expand(rows.shape[0], -1, -1).reshape(-1, 4)
            flat = head.bbox_coder.decode(priors, rows.reshape(-1, 4))
            boxes = flat.reshape(-1, high, wide, 4).permute(0, 3, 1, 2) / stride
        moved = shifted(boxes, head.reg_offset_module(features))
        # Corners that have passed each other after that: the box stays as it was.
        crossed = (moved[:, 0:1] > moved[:, 2:3]) | (moved[:, 1:2] > moved[:, 3:4])
        return scores, torch.where(crossed, boxes, moved)
