"""YOLOX: one class a place, scored by class times objectness."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.export.graph.graph import DETECTION, Graph, refuse
from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.priors import Priors
from trainer.export.graph.top_rows import at_least, best, finish, rows_of, take


def fits(model: Any) -> bool:
    """A single-stage detector with YOLOX's own head."""
    from mmdet.models.dense_heads import YOLOXHead

    head = getattr(model, "bbox_head", None)
    steps = ("predict_by_feat", "_bbox_decode", "_bbox_post_process")
    return isinstance(head, YOLOXHead) and all(
        getattr(type(head), step) is getattr(YOLOXHead, step) for step in steps
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    try:
        return Yolox(predictor, options)
    except ValueError as error:
        raise refuse(predictor, str(error)) from None


class Yolox(Graph):
    """Boxes aren't cut at the edges, as in the model itself."""

    output_names = DETECTION
    cut_at_edges = False

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        config = self.model.bbox_head.test_cfg
        self.duplicates = Duplicates.of(config["nms"], options)
        least = options.score_threshold
        self.least = float(config.get("score_thr", 0.0)) if least is None else least
        generator = self.model.bbox_head.prior_generator
        self.priors = Priors(generator, self.probe(self._maps)[0], options.dynamic_size, with_stride=True)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        head: Any = self.model.bbox_head
        maps = self._maps(self.prepare(images))
        levels = self.priors(maps[0])
        cls, reg, objectness = (
            torch.cat([rows_of(one, values, count) for one, (_, count) in zip(part, levels, strict=True)], 1)
            for part, values in zip(maps, (head.cls_out_channels, 4, 1), strict=True)
        )
        scores, labels = cls.sigmoid().max(-1)
        scores = at_least(scores * objectness.squeeze(-1).sigmoid(), self.least)
        boxes = head._bbox_decode(torch.cat([priors for priors, _ in levels]), reg)
        count = self.options.max_detections
        scores = keep_best(boxes, scores, labels, self.duplicates, count)
        scores, places = best(scores, count, self.priors.total)
        return finish(scores, take(labels, places), take(boxes, places))

    def _maps(self, pixels: Tensor) -> Any:
        return self.model.bbox_head(self.model.extract_feat(pixels))
