"""RTMDet-Ins: boxes as RTMDet, and for each a small network whose weights the head answers, that draws the mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.export.graph.dense import Dense
from trainer.export.graph.graph import INSTANCES, Graph, refuse
from trainer.export.graph.mask_output import as_bytes
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.priors import Priors
from trainer.export.graph.top_rows import rows_of, take


def fits(model: Any) -> bool:
    """A single-stage detector with RTMDet-Ins' own head."""
    from mmdet.models.dense_heads import RTMDetInsHead

    head = getattr(model, "bbox_head", None)
    steps = (
        "predict_by_feat",
        "_predict_by_feat_single",
        "_bbox_mask_post_process",
        "_mask_predict_by_feat_single",
        "parse_dynamic_params",
    )
    return isinstance(head, RTMDetInsHead) and all(
        getattr(type(head), step) is getattr(RTMDetInsHead, step) for step in steps
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    try:
        return RtmdetIns(predictor, options)
    except ValueError as error:
        raise refuse(predictor, str(error)) from None


class RtmdetIns(Dense):
    """The masks' networks run for the boxes that are answered, all at once."""

    output_names = INSTANCES

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head: Any = self.model.bbox_head
        cut = float(head.test_cfg["mask_thr_binary"])
        if cut != 0.5:
            raise ValueError(f"its masks are cut at {cut}; only 0.5 can be expressed")
        maps = self.probe(self._maps)
        self.priors = Priors(head.prior_generator, maps[0], options.dynamic_size, with_stride=True)
        self.field = Priors(head.prior_generator, maps[0], options.dynamic_size)
        self.stride = float(head.prior_generator.strides[0][0])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        head: Any = self.model.bbox_head
        pixels = self.prepare(images)
        maps = self._maps(pixels)
        boxes, scores, labels, priors, rows = self.found(self.candidates(maps, pixels))
        counts = [count for _, count in self.priors(maps[0])]
        kernels = [
            rows_of(one, head.num_gen_params, count) for one, count in zip(maps[2], counts, strict=True)
        ]
        field = self.field(maps[0])[0][0]
        logits = self._drawn(maps[3], take(torch.cat(kernels, 1), rows), priors, field)
        logits = functional.interpolate(logits, scale_factor=self.stride, mode="bilinear")
        return boxes, scores, labels, as_bytes(logits.sigmoid() * (scores > 0)[..., None, None])

    def factors(self, maps: Any) -> Any:
        return [None] * len(maps[0])

    def decode(self, priors: Tensor, deltas: Tensor) -> Tensor:
        return super().decode(priors[..., :2], deltas)

    def _drawn(self, features: Tensor, kernels: Tensor, priors: Tensor, field: Tensor) -> Tensor:
        """The masks' logits.

        Args:
            features: (N, P, h, w) what all masks are drawn from.
            kernels: (N, K, params) the weights and biases of each one's network.
            priors: (N, K, 4) where each looks from: x, y and strides in px.
            field: (h * w, 2) x and y of each place of ``features`` in px.

        Returns:
            (N, K, h, w).
        """
        head: Any = self.model.bbox_head
        count, width = self.options.max_detections, head.dyconv_channels
        parts = kernels.split_with_sizes([*head.weight_nums, *head.bias_nums], 2)
        weights, biases = parts[: head.num_dyconvs], parts[head.num_dyconvs :]
        away = (priors[..., :2].unsqueeze(3) - field.transpose(0, 1)) / (priors[..., 2:3].unsqueeze(3) * 8)
        flat = features.flatten(2)
        # A 1x1 convolution is a matrix product; the first one's over the shared features is the same for all.
        first = weights[0].reshape(-1, count, width, head.num_prototypes + 2)
        shared = first[..., 2:].reshape(-1, count * width, head.num_prototypes) @ flat
        values = first[..., :2] @ away + shared.reshape(-1, count, width, shared.shape[2])
        values = values + biases[0].unsqueeze(3)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            values = values.relu()
            values = weight.reshape(-1, count, bias.shape[2], width) @ values + bias.unsqueeze(3)
        return values.reshape(-1, count, *features.shape[2:])
