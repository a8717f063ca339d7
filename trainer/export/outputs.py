"""What a graph answers: its outputs' shapes, and the thresholds that it has inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.export.metadata import SHOWN, Output, Thresholds
from trainer.schema import Export

if TYPE_CHECKING:
    from trainer.export.graph import Graph
    from trainer.inference.predictor import Predictor

MOST = 300
"""Answers an image where neither the model nor the user says how many."""


def outputs_of(graph: Graph) -> list[Output]:
    """Name, type and shape of each output, learned by running the graph once; open dimensions are None."""
    import torch

    from trainer.inference.suppress_output import suppress_output

    with torch.no_grad(), suppress_output():
        values = graph(graph.example())
    axes = graph.dynamic_axes()
    return [
        Output(
            name=name,
            dtype=str(value.dtype).removeprefix("torch."),
            shape=[
                None if place in axes.get(name, {}) else int(side) for place, side in enumerate(value.shape)
            ],
        )
        for name, value in zip(graph.output_names, values, strict=True)
    ]


def thresholds_of(predictor: Predictor, config: Export) -> Thresholds:
    """What the model itself leaves out, or the user wants it to; None where a task has no such thing."""
    if predictor.top_down or predictor.task == "semantic_segmentation":
        return Thresholds(score=None, nms_iou=None, max_detections=None, shown=SHOWN)
    own = _own(predictor.model)
    nms = own.get("nms") or {}
    score = own.get("score_thr", 0.0) if config.score_threshold is None else config.score_threshold
    overlap = nms.get("iou_threshold", own.get("nms_thr")) if config.nms_iou is None else config.nms_iou
    most = config.max_detections or own.get("max_per_img") or own.get("max_per_image") or MOST
    return Thresholds(
        score=float(score or 0.0),
        nms_iou=None if overlap is None else float(overlap),
        max_detections=int(most),
        shown=max(SHOWN, float(score or 0.0)),
    )


def _own(model: Any) -> dict[str, Any]:
    """The model's ``test_cfg``, that of its last stage where it has several."""
    for holder in (model, getattr(model, "bbox_head", None), getattr(model, "head", None)):
        config = getattr(holder, "test_cfg", None)
        if config:
            return dict(config.get("rcnn") or config)
    return {}
