"""Removing duplicates: ONNX's own operator in ONNX, a compiled loop of plain operators everywhere else.

Both answer as mmcv's ``nms`` does: the best box is kept, boxes that overlap it by more than the limit go, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.export.graph.options import GraphOptions


@dataclass(frozen=True)
class Duplicates:
    """How a model removes duplicates.

    Attributes:
        iou: boxes that overlap by more are duplicates.
        agnostic: boxes of different classes can be duplicates, too.
    """

    iou: float
    agnostic: bool = False

    @classmethod
    def of(cls, config: Any, options: GraphOptions | None = None) -> Duplicates:
        """What a ``test_cfg.nms`` says, with the options' own threshold where there is one.

        Raises:
            ValueError: it isn't the plain kind; the text says what it is.
        """
        kind = config.get("type", "nms")
        if kind != "nms":
            raise ValueError(f"it removes duplicates by {kind}; only plain nms can be expressed")
        others = {
            key for key in ("offset", "score_threshold", "max_num") if config.get(key, 0) not in (0, -1)
        }
        if others:
            raise ValueError(f"its nms has {', '.join(sorted(others))}, which can't be expressed")
        chosen = options.nms_iou if options is not None else None
        iou = float(config.get("iou_threshold", 0.5)) if chosen is None else chosen
        return cls(iou, bool(config.get("class_agnostic", False)))


def keep_best(
    boxes: Tensor, scores: Tensor, labels: Tensor | None, duplicates: Duplicates, limit: int
) -> Tensor:
    """The scores with those of duplicates set to 0.

    Args:
        boxes: (N, M, 4) float32 xyxy.
        scores: (N, M), 0 where there is no box.
        labels: (N, M) of any type; boxes of different labels aren't duplicates. None where all are of one.
        limit: so many boxes stay, at the most, of a picture.

    Returns:
        (N, M).
    """
    if labels is not None and not duplicates.agnostic:
        # As mmcv does it: each class is moved to a place of its own, by the same arithmetic.
        reach = torch.where((scores > 0).unsqueeze(-1), boxes, torch.zeros_like(boxes)).amax((1, 2))
        boxes = boxes + (labels.to(boxes.dtype) * (reach + 1).unsqueeze(1)).unsqueeze(-1)
    if torch.onnx.is_in_onnx_export():
        chosen = _Selected.apply(boxes, scores, duplicates.iou, limit)
        kept = torch.zeros_like(scores).index_put(
            (chosen[:, 0], chosen[:, 2]), torch.ones((), dtype=scores.dtype)
        )
    else:
        kept = _kept(boxes, scores, duplicates.iou, limit)
    return scores * kept


class _Selected(torch.autograd.Function):
    """ONNX's NonMaxSuppression: (N, M, 4), (N, M) -> int64 (S, 3) of picture, class (0) and box."""

    @staticmethod
    def forward(_: Any, boxes: Tensor, scores: Tensor, iou: float, limit: int) -> Tensor:  # type: ignore[override]
        # Only run while the exporter traces, when the form counts and the values don't.
        return torch.zeros(boxes.shape[0], 3, dtype=torch.int64)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou: float, limit: int) -> Any:
        def constant(value: Any, kind: torch.dtype) -> Any:
            return g.op("Constant", value_t=torch.tensor([value], dtype=kind))

        by_class = g.op("Unsqueeze", scores, constant(1, torch.int64))
        limits = constant(limit, torch.int64), constant(iou, torch.float32), constant(0.0, torch.float32)
        chosen = g.op("NonMaxSuppression", boxes, by_class, *limits)
        # How many are found isn't known before; the shape inference of the exporter wants to be told.
        return chosen.setType(boxes.type().with_dtype(torch.int64).with_sizes([None, 3]))


@torch.jit.script
def _kept(boxes: Tensor, scores: Tensor, iou: float, limit: int) -> Tensor:
    kept = torch.zeros_like(scores)
    for picture in range(scores.size(0)):
        ranked, rest = scores[picture].sort(descending=True, stable=True)
        rest = rest[ranked > 0]
        box = boxes[picture][rest]
        count = 0
        while count < limit and rest.numel() > 0:
            kept[picture, rest[0]] = 1
            count += 1
            area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
            corner = torch.minimum(box[:1, 2:], box[:, 2:])
            side = (corner - torch.maximum(box[:1, :2], box[:, :2])).clamp(min=0)
            inter = side[:, 0] * side[:, 1]
            # Empty boxes divide 0 by 0 and stay, as in mmcv.
            stays = ~(inter / (area[0] + area - inter) > iou)
            stays[0] = False
            rest, box = rest[stays], box[stays]
    return kept
