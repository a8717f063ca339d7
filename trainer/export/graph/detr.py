"""The DETR family: DETR, Conditional and DAB-DETR, Deformable DETR, DINO."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.graph import DETECTION, Graph, refuse
from trainer.export.graph.layers import sides
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.padding_mask import valid_sides
from trainer.export.graph.top_rows import best, finish, take, threshold

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

PLAIN = ("DETR", "ConditionalDETR", "DABDETR")
DEFORMABLE = ("DeformableDETR", "DINO")


def fits(model: Any) -> bool:
    return type(model).__name__ in (*PLAIN, *DEFORMABLE)


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    if type(predictor.model).__name__ in PLAIN:
        return DetrGraph(predictor, options)
    graph = DeformableGraph(predictor, options)
    places = graph.places()
    if graph.chooses and places < graph.model.num_queries:
        width, height = options.size
        raise refuse(
            predictor,
            f"its {graph.model.num_queries} queries are chosen from as many places, and a picture of {width} x "
            f"{height} px has {places}; a larger size",
        )
    return graph


class DetrGraph(Graph):
    """One feature map and attention over all of it.

    Padding is seen in the picture itself: rows at the bottom and columns at the right that are all zero (the mean
    colour), as mmdet's own batches have them. Attention leaves them out, and boxes are relative to the rest.
    """

    output_names = DETECTION

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head: Any = self.model.bbox_head
        self.sigmoid, self.classes = bool(head.loss_cls.use_sigmoid), int(head.num_classes)
        self.least = options.score_threshold or 0.0
        self.kept = int(head.test_cfg.get("max_per_img", self.model.num_queries))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        height, width = valid_sides(pixels, self.model.data_preprocessor)
        logits, boxes = self._answers(pixels, self._padding(pixels, height, width))
        return self._decoded(logits, boxes, height, width)

    def _answers(self, pixels: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, Q, C) and boxes (N, Q, 4) cxcywh, both of the last layer; ``padding`` is bool (N, H, W)."""
        model: Any = self.model
        feat = model.extract_feat(pixels)[-1]
        mask = _resized(padding, feat, self.options.dynamic_size)
        position = model.positional_encoding(mask).flatten(2).transpose(1, 2)
        mask = mask.flatten(1)
        memory = model.forward_encoder(feat.flatten(2).transpose(1, 2), mask, position)
        query, _ = model.pre_decoder(**memory)
        found = model.forward_decoder(**query, memory_mask=mask, memory_pos=position)
        found["hidden_states"] = found["hidden_states"][-1:]
        if "references" in found and found["references"].dim() == 4:  # one set a layer
            found["references"] = found["references"][-1:]
        logits, boxes = model.bbox_head(**found)
        return logits[-1], boxes[-1]

    def _padding(self, pixels: Tensor, height: Tensor, width: Tensor) -> Tensor:
        down = torch.ones_like(pixels[:, 0]).cumsum(1)
        across = torch.ones_like(pixels[:, 0]).cumsum(2)
        return (down > height.view(-1, 1, 1)) | (across > width.view(-1, 1, 1))

    def _decoded(self, logits: Tensor, boxes: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, ...]:
        available = int(logits.shape[1]) * (self.classes if self.sigmoid else 1)
        rows = min(self.kept, available)
        if self.sigmoid:
            scores, places = best(logits.sigmoid().flatten(1), rows, available)
            index = torch.div(places, self.classes, rounding_mode="floor")
            labels = places - index * self.classes
        else:
            scores, labels = logits.softmax(-1)[..., :-1].max(-1)
            scores, index = best(scores, rows, available)
            labels = take(labels, index)
        # What max_detections leaves out, or adds as empty rows.
        scores, first = best(threshold(scores, self.least), self.options.max_detections, rows)
        centre, size = take(boxes, take(index, first)).split(2, -1)
        far = torch.stack((width, height), -1).unsqueeze(1)
        low = torch.minimum(((centre - 0.5 * size) * far).clamp(min=0), far)
        high = torch.minimum(((centre + 0.5 * size) * far).clamp(min=0), far)
        return finish(scores, take(labels, first), torch.cat((low, high), -1))


class DeformableGraph(DetrGraph):
    """Several feature maps, sampled where each query looks."""

    min_opset, min_opset_reason = 16, "where GridSample is: its deformable attention needs it"

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        model: Any = self.model
        self.dino = type(model).__name__ == "DINO"
        self.chooses = self.dino or bool(model.as_two_stage)
        model.encoder.get_encoder_reference_points = _looked_at
        if self.chooses:
            model.gen_encoder_output_proposals = partial(_proposals, model)

    def places(self) -> int:
        """Cells of all feature maps."""
        return sum(
            int(one.shape[-2] * one.shape[-1]) for one in self.probe(lambda x: self.model.extract_feat(x))
        )

    def _answers(self, pixels: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        model: Any = self.model
        feats, masks, positions, shapes = [], [], [], []
        for level, feat in enumerate(model.extract_feat(pixels)):
            mask = _resized(padding, feat, self.options.dynamic_size)
            position = model.positional_encoding(mask).flatten(2).transpose(1, 2)
            shapes.append(sides(feat, self.options.dynamic_size))
            feats.append(feat.flatten(2).transpose(1, 2))
            masks.append(mask)
            positions.append(position + model.level_embed[level].view(1, 1, -1))
        mask = torch.cat([one.flatten(1) for one in masks], 1)
        ratios = torch.stack([model.get_valid_ratio(one) for one in masks], 1)
        common = {"spatial_shapes": shapes, "level_start_index": None, "valid_ratios": ratios}
        memory = model.forward_encoder(torch.cat(feats, 1), mask, torch.cat(positions, 1), **common)
        query, _ = model.pre_decoder(**memory)
        found = model.forward_decoder(**query, memory_mask=mask, **common)
        return self._last(found["hidden_states"][-1], found["references"][-2])

    def _last(self, hidden: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        head: Any = self.model.bbox_head
        last = self.model.decoder.num_layers - 1
        change = head.reg_branches[last](hidden)
        reference = _logit(reference)
        if reference.shape[-1] == 2:
            reference = functional.pad(reference, (0, 2))
        return head.cls_branches[last](hidden), (change + reference).sigmoid()


def _looked_at(shapes: Any, ratios: Tensor, device: Any) -> Tensor:
    """The encoder's reference points (N, cells, levels, 2), also where a level is a single cell: ONNX's form of the
    original's ``linspace`` divides by 0 there.

    Args:
        shapes: (height, width) of each level.
        ratios: (N, levels, 2), how much of each level's width and height isn't padding.
    """
    found = []
    for level, (height, width) in enumerate(shapes):
        y, x = _centres(height, width, device)
        y, x = y[None] / (ratios[:, None, level, 1] * height), x[None] / (ratios[:, None, level, 0] * width)
        found.append(torch.stack((x, y), -1))
    return torch.cat(found, 1)[:, :, None] * ratios[:, None]


def _proposals(model: Any, memory: Tensor, mask: Tensor, shapes: Any) -> tuple[Tensor, Tensor]:
    """A box for each cell (N, cells, 4), as logits, and the memory to choose them by; as the original for shapes that
    may be open."""
    found, start = [], 0
    for level, (height, width) in enumerate(shapes):
        valid = ~mask[:, start : start + height * width].reshape(-1, height, width)
        start = start + height * width
        scale = torch.stack((valid[:, 0].sum(1), valid[:, :, 0].sum(1)), -1).to(memory.dtype)
        y, x = _centres(height, width, memory.device)
        place = torch.stack((x, y), -1)[None] / scale[:, None]
        found.append(torch.cat((place, torch.ones_like(place) * 0.05 * 2.0**level), -1))
    boxes = torch.cat(found, 1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).to(boxes.dtype).sum(-1, keepdim=True) == 4
    out = mask.unsqueeze(-1) | ~usable
    boxes = torch.log(boxes / (1 - boxes)).masked_fill(out, float("inf"))
    memory = model.memory_trans_norm(model.memory_trans_fc(memory.masked_fill(out, 0.0)))
    return memory, boxes


def _centres(height: Any, width: Any, device: Any) -> tuple[Tensor, Tensor]:
    """y and x of the cells of a level, row by row."""
    y, x = (torch.arange(side, device=device).float() + 0.5 for side in (height, width))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return y.reshape(-1), x.reshape(-1)


def _logit(x: Tensor, least: float = 1e-5) -> Tensor:
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=least) / (1 - x).clamp(min=least))


def _resized(padding: Tensor, feat: Tensor, dynamic: bool) -> Tensor:
    """Padding (N, H, W) of a picture as that of a feature map."""
    size = sides(feat, dynamic)
    return functional.interpolate(padding.unsqueeze(1).to(feat.dtype), size=size).squeeze(1) > 0.5
