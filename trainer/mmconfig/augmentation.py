"""Augmentation: the model's own with switches, or a set of ours built from the library's transforms.

``default`` keeps the base's pipelines; each switch that is set changes its transforms in them. Any other choice builds
the training pipeline anew for detection, instance and semantic segmentation; pose, whose pipelines carry the codec,
keeps the base's and switches everything that isn't asked for off.
"""

from __future__ import annotations

import copy

from trainer.config_tree.traverse import Cfg, leaf_dataset, loader_pipelines, train_pipelines, type_name
from trainer.core.errors import ConfigError
from trainer.mmconfig import pose_augmentation
from trainer.mmconfig.image_size import Size
from trainer.schema import Augmentation

MOSAICS = ("mosaic", "mosaic_mixup", "strong")
_MOSAIC_TYPES = ("Mosaic", "CachedMosaic")
_MIXUP_TYPES = ("MixUp", "CachedMixUp", "YOLOXMixUp")
_COLOUR_TYPES = ("YOLOXHSVRandomAug", "PhotoMetricDistortion", "PhotometricDistortion", "ColorTransform")
_MODE_SWITCHES = ("YOLOXModeSwitchHook", "PipelineSwitchHook")
_LAST_SHARE = 15 / 300  # RTMDet and YOLOX train the last 15 to 20 of 300 epochs without mosaic


def set_augmentation(cfg: Cfg, task: str, augmentation: Augmentation, size: Size, epochs: int | None) -> None:
    """Apply an augmentation choice to the training pipelines.

    Args:
        size: the network's input (width, height) in px.
        epochs: of the run; None for an iteration-based loop, which closes no mosaic.
    Raises:
        ConfigError: mosaic or mixup for a task or base that has none.
    """
    if task == "pose":
        pose_augmentation.set_augmentation(cfg, augmentation)
    elif augmentation.name == "default":
        _edit(cfg, task, augmentation, epochs)
    elif task == "semantic_segmentation":
        _replace(cfg, _segmentation(cfg, augmentation, size))
    else:
        _detection(cfg, task, augmentation, size, epochs)


def wants_mosaic(augmentation: Augmentation) -> bool:
    """Whether a choice other than ``default`` mixes four images."""
    return augmentation.name in MOSAICS if augmentation.mosaic is None else augmentation.mosaic


def wants_mixup(augmentation: Augmentation) -> bool:
    """Whether a choice other than ``default`` blends two images."""
    return (
        augmentation.name in ("mosaic_mixup", "strong") if augmentation.mixup is None else augmentation.mixup
    )


# --- the model's own pipelines, with switches ---------------------------------------------------------------------


def _edit(cfg: Cfg, task: str, augmentation: Augmentation, epochs: int | None) -> None:
    if augmentation.mosaic or augmentation.mixup:
        has = {type_name(step) for pipeline in train_pipelines(cfg) for step in pipeline}
        for wanted, types, name in (
            (augmentation.mosaic, _MOSAIC_TYPES, "mosaic"),
            (augmentation.mixup, _MIXUP_TYPES, "mixup"),
        ):
            if wanted and not has & set(types):
                raise ConfigError(
                    f"augmentation.{name}=true: this model's own has none; use augmentation=mosaic_mixup"
                )
    if augmentation.mosaic is False:
        _without_mosaic(cfg)
    elif augmentation.mixup is False:
        _remove(cfg, _MIXUP_TYPES)
    if augmentation.close_mosaic_epochs is not None and epochs:
        _close_mosaic(cfg, augmentation.close_mosaic_epochs, epochs)
    if augmentation.hsv is False:
        _remove(cfg, _COLOUR_TYPES)
    for pipeline in train_pipelines(cfg):
        _edit_pipeline(pipeline, task, augmentation)


def _edit_pipeline(pipeline: list[Cfg], task: str, augmentation: Augmentation) -> None:
    types = [type_name(step) for step in pipeline]
    loads_labels = next((i for i, kind in enumerate(types) if kind.startswith("LoadAnnotations")), None)
    if augmentation.hsv and loads_labels is not None and not set(types) & set(_COLOUR_TYPES):
        pipeline.insert(loads_labels + 1, _colour(task))
    if augmentation.flip is not None:
        flips = [step for step in pipeline if type_name(step) == "RandomFlip"]
        for step in flips:
            step["prob"] = augmentation.flip
        if not flips and augmentation.flip and loads_labels is not None:
            pipeline.insert(len(pipeline) - 1, {"type": "RandomFlip", "prob": augmentation.flip})
    for step in list(pipeline):
        kind = type_name(step)
        if kind == "RandomAffine" and augmentation.rotation is not None:
            step["max_rotate_degree"] = augmentation.rotation
        if kind == "RandomAffine" and augmentation.scaling is not None:
            step["scaling_ratio_range"] = tuple(augmentation.scaling)
        elif kind == "RandomResize" and augmentation.scaling is not None:
            step["ratio_range"] = tuple(augmentation.scaling)
        elif kind == "RandomCrop" and augmentation.crop is False:
            pipeline.remove(step)
    if augmentation.rotation and "RandomAffine" not in types and loads_labels is not None:
        pipeline.insert(len(pipeline) - 1, _rotation(task, augmentation.rotation))


def _without_mosaic(cfg: Cfg) -> None:
    """What the authors train the last epochs with, from the start."""
    hooks = cfg.get("custom_hooks") or []
    for hook in hooks:
        if type_name(hook) == "PipelineSwitchHook":
            leaf = leaf_dataset(cfg["train_dataloader"])
            leaf["pipeline"] = copy.deepcopy(hook["switch_pipeline"])
    cfg["custom_hooks"] = [hook for hook in hooks if type_name(hook) != "PipelineSwitchHook"]
    # YOLOX: RandomAffine's border undoes mosaic's enlarged canvas, so it goes too, as in its mode switch.
    mosaic_canvas = any(type_name(s) in _MOSAIC_TYPES for p in train_pipelines(cfg) for s in p)
    _remove(cfg, (*_MOSAIC_TYPES, *_MIXUP_TYPES, *(("RandomAffine",) if mosaic_canvas else ())))


def _close_mosaic(cfg: Cfg, last: int, epochs: int) -> None:
    for hook in cfg.get("custom_hooks") or []:
        if type_name(hook) == "PipelineSwitchHook":
            hook["switch_epoch"] = max(0, epochs - last)
        elif "num_last_epochs" in hook:
            hook["num_last_epochs"] = last


def _remove(cfg: Cfg, types: tuple[str, ...]) -> None:
    for pipeline in train_pipelines(cfg):
        pipeline[:] = [step for step in pipeline if type_name(step) not in types]


# --- pipelines of ours --------------------------------------------------------------------------------------------


def _detection(cfg: Cfg, task: str, augmentation: Augmentation, size: Size, epochs: int | None) -> None:
    mosaic, mixup = wants_mosaic(augmentation), wants_mixup(augmentation)
    load = _loading(cfg)
    _unwrap(cfg)
    last_epochs = _detection_steps(load, task, augmentation, size, mosaic=False, mixup=False)
    if not mosaic and not mixup:
        _replace(cfg, last_epochs)
        return
    _replace(cfg, _detection_steps(load, task, augmentation, size, mosaic=mosaic, mixup=mixup))
    if epochs is None:
        return
    last = augmentation.close_mosaic_epochs
    last = max(1, round(epochs * _LAST_SHARE)) if last is None else last
    if 0 < last < epochs:
        hook = {"type": "PipelineSwitchHook", "switch_epoch": epochs - last, "switch_pipeline": last_epochs}
        cfg["custom_hooks"] = [*(cfg.get("custom_hooks") or []), hook]


def _detection_steps(
    load: list[Cfg], task: str, augmentation: Augmentation, size: Size, *, mosaic: bool, mixup: bool
) -> list[Cfg]:
    """RTMDet's recipe, which needs no wrapper data set: mosaic, resize, crop, colour, flip, pad, mixup."""
    width, height = size
    steps = copy.deepcopy(load)
    ratio = tuple(augmentation.scaling) if augmentation.scaling else (0.5, 1.5) if mosaic else None
    if mosaic:
        steps.append({"type": "CachedMosaic", "img_scale": size, "pad_val": 114.0, "max_cached_images": 40})
    if ratio:
        scale = (2 * width, 2 * height) if mosaic else size
        steps.append({"type": "RandomResize", "scale": scale, "ratio_range": ratio, "keep_ratio": True})
        steps[-1]["resize_type"] = "mmdet.Resize"
    else:
        steps.append({"type": "Resize", "scale": size, "keep_ratio": True})
    if augmentation.rotation:
        steps.append(_rotation(task, augmentation.rotation))
    if mosaic or augmentation.crop or (ratio and ratio[1] > 1):
        steps.append({"type": "RandomCrop", "crop_size": size, "allow_negative_crop": True})
    if augmentation.hsv:
        steps.append(_colour(task))
    if augmentation.flip:
        steps.append({"type": "RandomFlip", "prob": augmentation.flip})
    steps.append({"type": "Pad", "size": size, "pad_val": {"img": (114, 114, 114)}})
    if mixup:
        steps.append(
            {"type": "CachedMixUp", "img_scale": size, "ratio_range": (1.0, 1.0), "max_cached_images": 20}
        )
        steps[-1]["pad_val"] = (114, 114, 114)
    if task == "instance_segmentation" and (mosaic or ratio or augmentation.rotation or augmentation.crop):
        steps.append({"type": "FilterAnnotations", "min_gt_bbox_wh": (1, 1), "by_mask": True})
    return [*steps, {"type": "PackDetInputs"}]


def _segmentation(cfg: Cfg, augmentation: Augmentation, size: Size) -> list[Cfg]:
    width, height = size
    steps = copy.deepcopy(_loading(cfg))
    if augmentation.scaling:
        ratio = tuple(augmentation.scaling)
        steps.append({"type": "RandomResize", "scale": size, "ratio_range": ratio, "keep_ratio": True})
    else:
        steps.append({"type": "Resize", "scale": size, "keep_ratio": True})
    if augmentation.rotation:
        steps.append(_rotation("semantic_segmentation", augmentation.rotation))
    steps.append({"type": "RandomCrop", "crop_size": (height, width), "cat_max_ratio": 0.75})
    if augmentation.flip:
        steps.append({"type": "RandomFlip", "prob": augmentation.flip})
    if augmentation.hsv:
        steps.append(_colour("semantic_segmentation"))
    return [*steps, {"type": "PackSegInputs"}]


def _loading(cfg: Cfg) -> list[Cfg]:
    """The base's own loading steps: image and annotations, with its flags for boxes and masks."""
    loaders: list[Cfg] = []
    for pipeline in loader_pipelines(cfg["train_dataloader"]):
        loaders.extend(
            step for step in pipeline if type_name(step) in ("LoadImageFromFile", "LoadAnnotations")
        )
    images = [step for step in loaders if type_name(step) == "LoadImageFromFile"]
    labels = [step for step in loaders if type_name(step) == "LoadAnnotations"]
    return [*images[:1], *labels[:1]]


def _unwrap(cfg: Cfg) -> None:
    """Mosaic by a wrapper data set (YOLOX) and the hooks that switch it are the base's recipe, not this one's."""
    leaf = leaf_dataset(cfg["train_dataloader"])
    cfg["train_dataloader"]["dataset"] = leaf
    hooks = cfg.get("custom_hooks") or []
    cfg["custom_hooks"] = [hook for hook in hooks if type_name(hook) not in _MODE_SWITCHES]


def _replace(cfg: Cfg, pipeline: list[Cfg]) -> None:
    leaf_dataset(cfg["train_dataloader"])["pipeline"] = pipeline


def _colour(task: str) -> Cfg:
    return {"type": "PhotoMetricDistortion" if task == "semantic_segmentation" else "mmdet.YOLOXHSVRandomAug"}


def _rotation(task: str, degrees: float) -> Cfg:
    if task == "semantic_segmentation":
        return {"type": "RandomRotate", "prob": 0.5, "degree": degrees, "seg_pad_val": 255}
    return {"type": "Rotate", "prob": 0.5, "min_mag": 0.0, "max_mag": degrees}
