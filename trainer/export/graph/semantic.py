"""Semantic segmentation (mmseg): the class of every px of the network's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.fixed_size import refuse_dynamic
from trainer.export.graph.graph import Graph, refuse
from trainer.export.graph.layers import samples_grids, sides
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.pixel_decoder import replace_pixel_decoder

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

SEGMENTORS = ("EncoderDecoder", "CascadeEncoderDecoder")


def fits(model: Any) -> bool:
    return type(model).__name__ in SEGMENTORS


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    heads = getattr(predictor.model, "decode_head", None)
    heads = list(heads) if isinstance(heads, torch.nn.ModuleList) else [heads]
    if any(type(head).__name__ == "PointHead" for head in heads):
        raise refuse(predictor, "PointRend chooses anew in every image which points it refines")
    slides = predictor.model.test_cfg.get("mode", "whole") == "slide"
    refuse_dynamic(predictor, options, "its sliding windows depend on the picture's size" if slides else "")
    return SemanticGraph(predictor, options)


class SemanticGraph(Graph):
    """The best class of the logits as the model resizes them to its input; with one channel, its threshold.

    A model that looks through sliding windows (``test_cfg.mode="slide"``) does so here too; the windows of a picture
    are one batch of the network.
    """

    output_names = ("segmentation",)

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        replace_pixel_decoder(self.model.decode_head, options.dynamic_size)
        if samples_grids(self.model):
            self.min_opset = 16
            self.min_opset_reason = "where GridSample is: its deformable attention needs it"
        heads: Any = self.model.decode_head
        last = heads[-1] if isinstance(heads, torch.nn.ModuleList) else heads
        self.threshold = float(getattr(last, "threshold", None) or 0.5)
        config: Any = self.model.test_cfg
        self.windows: list[tuple[int, int, int, int]] = []
        if config.get("mode", "whole") == "slide":
            self.windows = windows(options.size, config["crop_size"], config["stride"])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        logits = self._slide(pixels) if len(self.windows) > 1 else self._logits(pixels)
        if logits.shape[1] == 1:
            return ((logits[:, 0].sigmoid() > self.threshold).long(),)
        return (logits.argmax(1),)

    def _logits(self, pixels: Tensor) -> Tensor:
        size = sides(pixels, self.options.dynamic_size)
        meta = {"img_shape": size, "pad_shape": size, "ori_shape": size}
        return self.model.encode_decode(pixels, [meta])

    def _slide(self, pixels: Tensor) -> Tensor:
        height, width = sides(pixels, False)
        crops = [pixels[:, :, top:bottom, left:right] for left, top, right, bottom in self.windows]
        parts = self._logits(torch.cat(crops)).chunk(len(crops))
        total, seen = 0, torch.zeros(1, 1, height, width)
        for part, (left, top, right, bottom) in zip(parts, self.windows, strict=True):
            total = total + functional.pad(part, (left, width - right, top, height - bottom))
            seen[:, :, top:bottom, left:right] += 1
        return total / seen.to(pixels)


def windows(size: tuple[int, int], crop: Any, stride: Any) -> list[tuple[int, int, int, int]]:
    """Where mmseg's sliding windows lie in a picture of ``size`` (width, height): left, top, right, bottom in px.

    Args:
        crop, stride: (height, width) in px.
    """
    spans = []
    for side, length, step in ((size[1], crop[0], stride[0]), (size[0], crop[1], stride[1])):
        count = max(side - length + step - 1, 0) // step + 1
        ends = [min(index * step + length, side) for index in range(count)]
        spans.append([(max(end - length, 0), end) for end in ends])
    return [(left, top, right, bottom) for top, bottom in spans[0] for left, right in spans[1]]
