"""SOLOv2 (mmdet): a mask for each cell of its grids, the same one twice made less by matrix NMS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.graph import INSTANCES, Graph, refuse
from trainer.export.graph.layers import sides
from trainer.export.graph.mask_output import around, as_bytes
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.top_rows import at_least, best, finish, take, threshold

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor


def fits(model: Any) -> bool:
    return type(model).__name__ == "SOLOv2" and type(model.mask_head).__name__ == "SOLOV2Head"


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    head = predictor.model.mask_head
    if head.dynamic_conv_size != 1:
        raise refuse(
            predictor, f"its masks are made by kernels of {head.dynamic_conv_size} cells; only 1 is known"
        )
    if head.test_cfg["kernel"] not in ("gaussian", "linear"):
        raise refuse(predictor, f"no graph is known for matrix NMS with kernel={head.test_cfg['kernel']}")
    return SOLOv2Graph(predictor, options)


class SOLOv2Graph(Graph):
    """The best ``nms_pre`` cells by class score, then the model's own steps.

    The model itself takes the best after masks have weighed in, which differs only where more cells than that pass
    its ``score_thr``. Boxes, which it doesn't answer, are those around the masks.
    """

    output_names = INSTANCES

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head: Any = self.model.mask_head
        config = head.test_cfg
        self.classes, self.stride = int(head.cls_out_channels), int(head.mask_stride)
        self.cells = sum(count * count for count in head.num_grids)
        self.least = (
            options.score_threshold if options.score_threshold is not None else float(config["score_thr"])
        )
        self.last, self.half = float(config["filter_thr"]), float(config["mask_thr"])
        self.before = min(int(config["nms_pre"]), self.cells * self.classes)
        self.kept = min(int(config["max_per_img"]), options.max_detections, self.before)
        self.kernel, self.sigma = str(config["kernel"]), float(config["sigma"])
        strides = [
            torch.full((count * count,), float(stride))
            for count, stride in zip(head.num_grids, head.strides, strict=True)
        ]
        self.register_buffer("smallest", torch.cat(strides), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        model: Any = self.model
        kernels, classes, features = model.mask_head(model.extract_feat(pixels))
        scores = torch.cat([_peaks(one).flatten(2).transpose(1, 2) for one in classes], 1).flatten(1)
        scores, places = best(threshold(scores, self.least), self.before, self.cells * self.classes)
        cells = torch.div(places, self.classes, rounding_mode="floor")
        labels = places - cells * self.classes
        kernel = take(torch.cat([one.flatten(2).transpose(1, 2) for one in kernels], 1), cells)
        masks = torch.matmul(kernel, features.flatten(2)).sigmoid()
        inside = (masks > self.half).to(masks.dtype)
        area = inside.sum(2)
        scores = scores * (area > self.smallest[cells]).to(scores.dtype)
        scores = scores * (masks * inside).sum(2) / area.clamp(min=1)
        scores, order = best(scores, self.before, self.before)
        labels, masks, inside = take(labels, order), take(masks, order), take(inside, order)
        scores = at_least(scores * self._decay(inside, labels), self.last)
        scores, order = best(scores, self.kept, self.before)
        masks = take(masks, order).view(*order.shape, *sides(features, self.options.dynamic_size))
        height, width = sides(pixels, self.options.dynamic_size)
        high, wide = sides(features, self.options.dynamic_size)
        size = (high * self.stride, wide * self.stride)
        masks = functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        masks = masks[:, :, :height, :width]
        scores, first = best(scores, self.options.max_detections, self.kept)
        masks = take(masks, first) * (scores > 0).to(masks.dtype)[..., None, None]
        boxes = around((masks > self.half).to(masks.dtype))
        boxes, scores, labels = finish(scores, take(take(labels, order), first), boxes)
        return boxes, scores, labels, as_bytes(masks + (0.5 - self.half), half_is_object=False)

    def _decay(self, inside: Tensor, labels: Tensor) -> Tensor:
        """What is left (N, K) of the scores of masks (N, K, L), sorted by score, under the better ones of a class."""
        shared = torch.matmul(inside, inside.transpose(1, 2))
        area = inside.sum(2)
        union = area.unsqueeze(1) + area.unsqueeze(2) - shared
        count = torch.arange(self.before)
        better = (count.unsqueeze(1) < count.unsqueeze(0)).to(inside)
        same = (labels.unsqueeze(1) == labels.unsqueeze(2)).to(inside.dtype)
        overlap = shared / union.clamp(min=1) * same * better
        own = overlap.amax(1).unsqueeze(2)
        if self.kernel == "gaussian":
            left = torch.exp(-self.sigma * overlap**2) / torch.exp(-self.sigma * own**2)
        else:
            left = (1 - overlap) / (1 - own)
        return left.amin(1)


def _peaks(logits: Tensor) -> Tensor:
    """Probabilities (N, C, G, G), 0 where a neighbour's is higher."""
    scores = logits.sigmoid()
    highest = functional.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
    return scores * (highest == scores).to(scores.dtype)
