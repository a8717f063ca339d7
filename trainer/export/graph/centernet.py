"""CenterNet: the peaks of a heat map; nothing is removed as a duplicate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.graph import DETECTION, Graph
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.top_rows import best, finish, rows_of, take, threshold


def fits(model: Any) -> bool:
    """A single-stage detector with CenterNet's own head."""
    from mmdet.models.dense_heads import CenterNetHead

    head = getattr(model, "bbox_head", None)
    steps = ("predict_by_feat", "_predict_by_feat_single", "_decode_heatmap")
    return isinstance(head, CenterNetHead) and all(
        getattr(type(head), step) is getattr(CenterNetHead, step) for step in steps
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    return CenterNet(predictor, options)


class CenterNet(Graph):
    """Coordinates count from the corner of the input, the border around the picture included."""

    output_names = DETECTION
    cut_at_edges = False

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        heat = self.probe(self._maps)[0][0]
        self.classes, high, wide = heat.shape[1:]
        self.stride = options.size[0] / wide
        self.places = None if options.dynamic_size else high * wide

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        config = self.model.bbox_head.test_cfg
        (heat,), (sides,), (offsets,) = self._maps(self.prepare(images))
        kernel = config["local_maximum_kernel"]
        peak = functional.max_pool2d(heat, kernel, stride=1, padding=(kernel - 1) // 2)
        scores = threshold(heat * (peak == heat).float(), self.options.score_threshold or 0.0)
        wide = heat.shape[3]
        rows = rows_of(scores, self.classes, self.places).flatten(1)
        count = min(int(config["topk"]), self.options.max_detections)
        available = None if self.places is None else self.places * self.classes
        scores, index = best(rows, count, available)
        labels = index % self.classes
        places = (index - labels).div(self.classes, rounding_mode="trunc")
        column = places % wide
        row = (places - column).div(wide, rounding_mode="trunc")
        centre = torch.stack([column, row], -1).float() + take(rows_of(offsets, 2, self.places), places)
        half = take(rows_of(sides, 2, self.places), places) / 2
        boxes = torch.cat([centre - half, centre + half], -1) * self.stride
        missing = self.options.max_detections - count
        if missing > 0:
            scores, labels = functional.pad(scores, (0, missing)), functional.pad(labels, (0, missing))
            boxes = functional.pad(boxes, (0, 0, 0, missing))
        return finish(scores, labels, boxes)

    def _maps(self, pixels: Tensor) -> Any:
        return self.model.bbox_head(self.model.extract_feat(pixels))
