"""Padding to sizes that a network's strides divide, where its own pipeline leaves others."""

from __future__ import annotations

import math
from typing import Any

from trainer.config_tree.traverse import Cfg, all_pipelines, loader_pipelines, of_type, traverse, type_name
from trainer.mmconfig.image_size import as_size

_EIGHTHS = ("DDRNet", "PIDNet")
"""Segmentation backbones that round an eighth of a size down where their convolutions round it up."""


def set_padding(cfg: Cfg, task: str) -> None:
    """Pad where the network would fail on a size. Sizes that it takes as they are stay."""
    if task == "semantic_segmentation":
        _segmentation(cfg["model"])
    elif task != "pose":
        _detection(cfg)


def _segmentation(model: Cfg) -> None:
    preprocessor = model.get("data_preprocessor")
    if type_name(model.get("backbone")) not in _EIGHTHS or not isinstance(preprocessor, dict):
        return
    if preprocessor.get("size") is not None:
        preprocessor["size"] = _up(preprocessor["size"], 8)
    if not preprocessor.get("test_cfg"):
        preprocessor["test_cfg"] = {"size_divisor": 8}


def _detection(cfg: Cfg) -> None:
    """For models that are validated on images padded to one size, as RTMDet is, and whose batches nothing pads."""
    model = cfg["model"]
    preprocessor = model.get("data_preprocessor")
    if not isinstance(preprocessor, dict) or int(preprocessor.get("pad_size_divisor") or 1) > 1:
        return
    if not any(_pads(pipeline) for pipeline in loader_pipelines(cfg.get("val_dataloader"))):
        return
    pads = [step for pipeline in all_pipelines(cfg) for step in _pads(pipeline)]
    stride = _stride(model.get("bbox_head"))
    for step in pads:
        step["size"] = _up(step["size"], stride)
    # (160, 96) are the long and the short side to mmcv's Resize: upright images grow higher than they are padded to.
    if any(len(set(as_size(step["size"]))) > 1 for step in pads):
        preprocessor["pad_size_divisor"] = stride


def _pads(pipeline: list[Cfg]) -> list[Cfg]:
    return [step for step in of_type(pipeline, "Pad") if step.get("size")]


def _stride(head: Any) -> int:
    """The largest stride of a head's maps."""
    head = head if isinstance(head, dict) else {}
    generator = head.get("anchor_generator") or head.get("prior_generator") or {}
    strides = [value for _, value in traverse(generator.get("strides")) if isinstance(value, int)]
    return max(strides, default=32)


def _up(size: Any, unit: int) -> Any:
    """One size or a pair, each side the next multiple of ``unit``; the container's type is kept."""
    if isinstance(size, int):
        return math.ceil(size / unit) * unit
    return type(size)(math.ceil(side / unit) * unit for side in size)
