"""Models as graphs of plain tensors, decoding included: what is written as ONNX or TorchScript."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainer.export.graph.fixed_size import refuse_dynamic
from trainer.export.graph.graph import Graph, refuse
from trainer.export.graph.options import GraphOptions

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

__all__ = ["FAMILIES", "Graph", "GraphOptions", "graph_for"]

FAMILIES: tuple[str, ...] = (
    "rtmdet_ins",
    "yolox",
    "centernet",
    "tood",
    "dense",
    "two_stage",
    "detr",
    "mask2former",
    "solov2",
    "semantic",
    "top_down_pose",
    "one_stage_pose",
)
"""Modules of this folder, asked in this order. Each has ``fits(model) -> bool`` and ``build(predictor, options) ->
Graph``, which raises FrameworkError with the reason where a model of the family can't be expressed."""


def graph_for(predictor: Predictor, options: GraphOptions) -> Graph:
    """The graph of a loaded model.

    Raises:
        FrameworkError: its family has no exported form, or not with these options; the message says why. Nothing
            has been computed then.
    """
    for name in FAMILIES:
        family: Any = import_module(f"trainer.export.graph.{name}")
        if family.fits(predictor.model):
            refuse_dynamic(predictor, options)
            return family.build(predictor, options)
    kind = type(predictor.model).__name__
    heads = (
        getattr(predictor.model, name, None) for name in ("bbox_head", "decode_head", "head", "roi_head")
    )
    head = next((type(one).__name__ for one in heads if one is not None), None)
    what = f"{kind} with {head}" if head else kind
    raise refuse(predictor, f"no graph is known for {what}")
