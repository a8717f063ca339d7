"""Augmentation of pose pipelines: switches in the base's own, since only they know the codec."""

from __future__ import annotations

import copy

from trainer.config_tree.traverse import (
    SWITCH_KEYS,
    Cfg,
    leaf_dataset,
    switch_pipelines,
    train_pipelines,
    type_name,
)
from trainer.core.errors import ConfigError
from trainer.schema import Augmentation

_ALWAYS_OFF = ("Mosaic", "YOLOXMixUp", "Albumentation", "RandomHalfBody")
_ROTATE_PROB = {"RandomBBoxTransform": 0.6, "BottomupRandomAffine": 1.0}  # MMPose's own defaults
_COLOUR = ("YOLOXHSVRandomAug", "PhotometricDistortion")


def set_augmentation(cfg: Cfg, augmentation: Augmentation) -> None:
    """Edit the training pipelines; a choice other than ``default`` first switches everything off.

    Raises:
        ConfigError: mosaic or mixup, which crops of one instance have no use for.
    """
    if augmentation.mosaic or augmentation.mixup:
        raise ConfigError(
            "augmentation.mosaic and .mixup are not for task=pose; use augmentation=light or strong"
        )
    if augmentation.name != "default":
        _last_stage_only(cfg)
    for pipeline in train_pipelines(cfg):
        if augmentation.name != "default":
            pipeline[:] = [s for s in pipeline if type_name(s) not in (*_ALWAYS_OFF, *_COLOUR, "RandomFlip")]
            for step in pipeline:
                _set_affine(
                    step, rotation=augmentation.rotation or 0.0, scaling=augmentation.scaling or [1.0, 1.0]
                )
            _insert(pipeline, augmentation, flip=augmentation.flip or 0.0)
        else:
            if augmentation.mosaic is False or augmentation.mixup is False:
                pipeline[:] = [s for s in pipeline if type_name(s) not in ("Mosaic", "YOLOXMixUp")]
            if augmentation.hsv is False:
                pipeline[:] = [s for s in pipeline if type_name(s) not in _COLOUR]
            for step in pipeline:
                _set_affine(step, rotation=augmentation.rotation, scaling=augmentation.scaling)
            if augmentation.flip is not None:
                pipeline[:] = [s for s in pipeline if type_name(s) != "RandomFlip"]
            _insert(pipeline, augmentation, flip=augmentation.flip)


def _last_stage_only(cfg: Cfg) -> None:
    """Two-stage recipes (RTMPose, RTMO) end with their plain pipeline: use it throughout."""
    for pipeline in switch_pipelines(cfg):
        leaf_dataset(cfg["train_dataloader"])["pipeline"] = copy.deepcopy(pipeline)
    hooks = cfg.get("custom_hooks") or []
    cfg["custom_hooks"] = [hook for hook in hooks if not set(hook) & set(SWITCH_KEYS)]


def _set_affine(step: Cfg, rotation: float | None, scaling: list[float] | None) -> None:
    if type_name(step) not in _ROTATE_PROB:
        return
    if rotation is not None:
        step["rotate_factor"] = float(rotation)
        step["rotate_prob"] = _ROTATE_PROB[type_name(step)] if rotation else 0.0
    if scaling is not None:
        step["scale_factor"] = tuple(scaling)


def _insert(pipeline: list[Cfg], augmentation: Augmentation, flip: float | None) -> None:
    types = [type_name(step) for step in pipeline]
    at = types.index("LoadImage") + 1 if "LoadImage" in types else 0
    if "GetBBoxCenterScale" in types:
        at = types.index("GetBBoxCenterScale") + 1
    if flip:
        pipeline.insert(at, {"type": "RandomFlip", "direction": "horizontal", "prob": flip})
    if augmentation.hsv and not set(types) & set(_COLOUR):
        pipeline.insert(
            types.index("LoadImage") + 1 if "LoadImage" in types else 0, {"type": "YOLOXHSVRandomAug"}
        )
