"""Making a model of several tasks do the one that is asked for."""

from __future__ import annotations

from trainer.config_tree.traverse import Cfg, dicts
from trainer.core.errors import ConfigError

_MASK_HEADS = ("mask_head", "mask_roi_extractor", "mask_iou_head", "point_head")


def set_task(cfg: Cfg, task: str) -> list[str]:
    """Detection with a mask model trains its boxes alone; returns notes for the user.

    Raises:
        ConfigError: instance segmentation with a model that predicts no masks.
    """
    roi_head = cfg["model"].get("roi_head")
    if task == "detection" and isinstance(roi_head, dict) and any(roi_head.get(key) for key in _MASK_HEADS):
        for key in _MASK_HEADS:
            if key in roi_head:
                roi_head[key] = None
        return ["task=detection: the mask head is left out; only boxes are trained"]
    if task == "instance_segmentation" and not predicts_masks(cfg["model"]):
        raise ConfigError(
            "task=instance_segmentation: this model predicts no masks; mask-rcnn-r50, rtmdet-ins-s do"
        )
    return []


def predicts_masks(model: Cfg) -> bool:
    """Whether a detection model answers with masks, seen from its parts."""
    for node in dicts(model):
        if any(isinstance(node.get(key), (dict, list)) for key in ("mask_head", "panoptic_head")):
            return True
        if "RTMDetIns" in str(node.get("type")) or "loss_mask" in node:
            return True
    return False
