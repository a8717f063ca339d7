"""Image size: every place where a base config says one, scaled together.

Detection bases relate their sizes to each other (RTMDet resizes to twice its input before it crops), so all of them
are multiplied by the same factor. Segmentation is set to the size itself. Pose scales the crop, the heat map, the
head's feature map and the codec's sigma.
"""

from __future__ import annotations

import math
from typing import Any

from trainer.config_tree.traverse import Cfg, all_pipelines, dicts, loader_pipelines, of_type, type_name
from trainer.core.errors import ConfigError

Size = tuple[int, int]  # width, height in px
Factor = tuple[float, float]

_WIDTH_FIRST = ("scale", "img_scale", "size", "scales", "img_scales", "input_size", "border")


def as_size(value: Any) -> Size:
    """``640`` or ``[width, height]`` as (width, height)."""
    if isinstance(value, int):
        return value, value
    width, height = value
    return int(width), int(height)


def set_image_size(cfg: Cfg, task: str, size: Size) -> None:
    """Make the network's input ``size`` (width, height in px) in pipelines and model.

    Raises:
        ConfigError: the base says no size to scale from, or a pose model can't take this one.
    """
    if task == "pose":
        _pose(cfg, size)
    elif task == "semantic_segmentation":
        _segmentation(cfg, size)
    else:
        _detection(cfg, size)


def nominal_size(cfg: Cfg, task: str) -> Size | None:
    """The (width, height) the base was made for."""
    if task == "pose":
        places = (cfg.get("model"), cfg.get("val_dataloader"))
        holders = [node for place in places for node in of_type_with(place, "input_size")]
        return _pair(holders[0]["input_size"]) if holders else None
    order = ("val_dataloader", "test_dataloader", "train_dataloader")
    if task == "semantic_segmentation":
        for crop in of_type(cfg.get("train_dataloader"), "RandomCrop"):
            return _flip(_pair(crop["crop_size"]))
    for name in order:
        for pipeline in loader_pipelines(cfg.get(name)):
            for step in pipeline:
                if type_name(step) in ("Resize", "FixScaleResize", "RandomResize", "Pad"):
                    found = step.get("scale") or step.get("img_scale") or step.get("size")
                    if found:
                        return _pair(
                            found[0] if isinstance(found, list) and isinstance(found[0], tuple) else found
                        )
    for step in of_type(cfg.get("train_dataloader"), "RandomChoiceResize"):
        scales = [scale for scale in step.get("scales", ()) if isinstance(scale, (tuple, list))]
        if scales:
            return _pair(max(scales))
    return None


def of_type_with(node: Any, key: str) -> list[Cfg]:
    """Every dict below ``node`` that holds ``key`` with a value that isn't None."""
    return [item for item in dicts(node) if item.get(key) is not None]


def _detection(cfg: Cfg, size: Size) -> None:
    old = nominal_size(cfg, "detection")
    if old is None:
        raise ConfigError("dataset.image_size: this model's base config states no image size to scale from")
    # A base like (1333, 800) means long and short edge, so portrait targets keep that order.
    factor = (size[0] / old[0], size[1] / old[1])
    # Large-scale jittering trains on squares of another size than it is tested on.
    side = _square_crop(cfg) if old[0] != old[1] else None
    square = (size[0] / side, size[1] / side) if side else None
    for pipeline in all_pipelines(cfg):
        for step in dicts(pipeline):
            _scale_step(step, factor, square)
    preprocessor = cfg["model"].get("data_preprocessor") or {}
    for augment in preprocessor.get("batch_augments") or []:
        _scale_batch_augment(augment, square or factor, preprocessor.get("pad_size_divisor", 1))


def _square_crop(cfg: Cfg) -> int | None:
    """The side of the squares that training crops, where it crops squares of one size."""
    crops = [
        _pair(step["crop_size"])
        for pipeline in loader_pipelines(cfg.get("train_dataloader"))
        for step in of_type(pipeline, "RandomCrop")
        if step.get("crop_type", "absolute") == "absolute"
    ]
    return crops[-1][0] if crops and crops[-1][0] == crops[-1][1] else None


def _scale_step(step: Cfg, factor: Factor, square: Factor | None = None) -> None:
    for key in _WIDTH_FIRST:
        if step.get(key) is not None:
            step[key] = _scaled(step[key], factor, square)
    crop = step.get("crop_size")
    if crop is None or str(step.get("crop_type", "absolute")).startswith("relative"):
        return
    # mmdet's order is (width, height), but for absolute_range the shortest and the longest side.
    ranged = step.get("crop_type") == "absolute_range"
    step["crop_size"] = _scaled(crop, (min(factor),) * 2 if ranged else factor, square)


def _scale_batch_augment(augment: Cfg, factor: Factor, divisor: int = 1) -> None:
    if "random_size_range" in augment:  # BatchSyncRandomResize: side lengths, multiples of size_divisor
        unit = augment.get("size_divisor", 32)
        low, high = (
            max(unit, round(side * factor[0] / unit) * unit) for side in augment["random_size_range"]
        )
        augment["random_size_range"] = (low, max(low, high))
    for key in ("size", "scale"):
        if key in augment:
            augment[key] = _scaled(augment[key], (factor[1], factor[0]))
    if "size" in augment:
        # BatchFixedSizePad comes after the batch is padded to the divisor, and fails where it asks for less.
        size = augment["size"]
        augment["size"] = type(size)(math.ceil(side / divisor) * divisor for side in size)


def _segmentation(cfg: Cfg, size: Size) -> None:
    width, height = size
    old = nominal_size(cfg, "semantic_segmentation")
    for pipeline in all_pipelines(cfg):
        for step in dicts(pipeline):
            kind = type_name(step)
            if kind in ("Resize", "RandomResize") and "scale" in step:
                step["scale"] = (width, height)
            elif kind == "Pad" and step.get("size") is not None:
                step["size"] = (width, height)
            elif kind == "RandomCrop":
                step["crop_size"] = (height, width)
            elif kind in ("RandomChoiceResize", "ResizeShortestEdge") and old:
                factor = min(width, height) / min(old)
                for key in ("scales", "scale", "max_size"):
                    if key in step:
                        step[key] = _scaled(step[key], (factor, factor))
    model = cfg["model"]
    for node in dicts(model):
        if type_name(node) == "SegDataPreProcessor" and node.get("size") is not None:
            node["size"] = (height, width)
    if cfg.get("crop_size") is not None:
        cfg["crop_size"] = (height, width)
    test_cfg = model.get("test_cfg") or {}
    if test_cfg.get("mode") == "slide":
        crop = _pair(test_cfg["crop_size"])
        stride = _pair(test_cfg["stride"])
        test_cfg["crop_size"] = (height, width)
        test_cfg["stride"] = (max(1, height * stride[0] // crop[0]), max(1, width * stride[1] // crop[1]))
    for node in of_type_with(model.get("backbone"), "img_size"):
        node["img_size"] = (height, width)


def _pose(cfg: Cfg, size: Size) -> None:
    if size[0] % 32 or size[1] % 32:
        wanted = [max(32, round(side / 32) * 32) for side in size]
        raise ConfigError(
            f"dataset.image_size: pose models need multiples of 32, got {list(size)}; nearest: {wanted}"
        )
    old = nominal_size(cfg, "pose")
    if old is None:
        raise ConfigError(
            "dataset.image_size: this pose model's base config states no input size to scale from"
        )
    factor = (size[0] / old[0], size[1] / old[1])
    seen: set[int] = set()
    nodes = [*dicts(cfg["model"]), *dicts(cfg.get("codec") or {})]
    for pipeline in all_pipelines(cfg):
        nodes.extend(dicts(pipeline))
    for node in nodes:
        if id(node) in seen:
            continue
        seen.add(id(node))
        for key in ("input_size", "heatmap_size", "in_featuremap_size"):
            if node.get(key) is not None:
                node[key] = _scaled(node[key], factor)
        if node.get("img_size") is not None:
            node["img_size"] = _scaled(node["img_size"], (factor[1], factor[0]))
        _scale_sigma(node, factor)
        for key in ("img_scale", "pad_size"):
            if node.get(key) is not None:
                node[key] = _scaled(node[key], factor)
        if "random_size_range" in node:
            _scale_batch_augment(node, factor)


def _scale_sigma(codec: Cfg, factor: Factor) -> None:
    """SimCC's sigma grows with the root of the size (RTMPose: 4.9 at 192 px, 6.0 at 288), a heat map's with it."""
    sigma = codec.get("sigma")
    if sigma is None or type_name(codec) not in (
        "SimCCLabel",
        "MSRAHeatmap",
        "UDPHeatmap",
        "MegviiHeatmap",
        "SPR",
    ):
        return
    if type_name(codec) == "SimCCLabel" and isinstance(sigma, (tuple, list)):
        codec["sigma"] = type(sigma)(round(s * math.sqrt(f), 2) for s, f in zip(sigma, factor, strict=False))
    elif isinstance(sigma, (int, float)):
        codec["sigma"] = max(1, round(sigma * min(factor), 2))


def _scaled(value: Any, factor: Factor, square: Factor | None = None) -> Any:
    """One size, or a list of them, multiplied; the container's type and the sign are kept.

    ``square``: the factor for sizes with two equal sides, where they have one of their own.
    """
    if isinstance(value, (int, float)):
        return _side(value, min(factor))
    if all(isinstance(side, (int, float)) for side in value):
        if len(value) == 2:
            factor = square if square and value[0] == value[1] else factor
            return type(value)(_side(side, f) for side, f in zip(value, factor, strict=True))
        return type(value)(_side(side, min(factor)) for side in value)
    return type(value)(_scaled(item, factor, square) for item in value)


def _side(side: float, factor: float) -> int:
    scaled = round(side * factor)
    return scaled or (1 if side > 0 else -1 if side < 0 else 0)


def _pair(value: Any) -> Size:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _flip(pair: Size) -> Size:
    return pair[1], pair[0]
