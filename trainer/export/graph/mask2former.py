"""Mask2Former and MaskFormer for instances (mmdet); for semantic segmentation see ``semantic``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.graph import INSTANCES, Graph, refuse
from trainer.export.graph.layers import samples_grids, sides
from trainer.export.graph.mask_output import around, as_bytes
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.pixel_decoder import replace_pixel_decoder
from trainer.export.graph.top_rows import best, finish, take, threshold

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor


def fits(model: Any) -> bool:
    return type(model).__name__ in ("Mask2Former", "MaskFormer")


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    model = predictor.model
    if not model.panoptic_fusion_head.test_cfg.get("instance_on", False):
        raise refuse(
            predictor, "it answers panoptic maps, which are merged query by query; instance_on=true can be"
        )
    return Mask2FormerGraph(predictor, options)


class Mask2FormerGraph(Graph):
    """A mask and its class for each of the best (query, class) pairs."""

    output_names = INSTANCES

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        replace_pixel_decoder(self.model.panoptic_head, options.dynamic_size)
        if samples_grids(self.model):
            self.min_opset = 16
            self.min_opset_reason = "where GridSample is: its deformable attention needs it"
        fusion: Any = self.model.panoptic_fusion_head
        self.classes, self.things = int(fusion.num_classes), int(fusion.num_things_classes)
        self.kept = int(fusion.test_cfg.get("max_per_image", 100))
        self.least = options.score_threshold or 0.0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        model: Any = self.model
        logits, masks = model.panoptic_head(model.extract_feat(pixels), [])
        probabilities = logits[-1].softmax(-1)[..., :-1].flatten(1)
        available = int(logits[-1].shape[1]) * self.classes
        rows = min(self.kept, available)
        scores, places = best(probabilities, rows, available)
        query = torch.div(places, self.classes, rounding_mode="floor")
        labels = places - query * self.classes
        scores = scores * (labels < self.things).to(scores.dtype)
        size = sides(pixels, self.options.dynamic_size)
        large = functional.interpolate(
            take(masks[-1], query), size=size, mode="bilinear", align_corners=False
        ).sigmoid()
        # As sure as the class is, and as the mask is where it is.
        inside = (large > 0.5).to(large.dtype)
        scores = scores * (large * inside).sum((2, 3)) / (inside.sum((2, 3)) + 1e-6)
        scores, first = best(threshold(scores, self.least), self.options.max_detections, rows)
        large, inside = take(large, first), take(inside, first)
        boxes, scores, labels = finish(scores, take(labels, first), around(inside))
        found = (scores > 0).to(large.dtype)[..., None, None]
        return boxes, scores, labels, as_bytes(large * found, half_is_object=False)
