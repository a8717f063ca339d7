"""How an image becomes what an exported file takes: read off the pipeline that the model was validated with."""

from __future__ import annotations

import math
from typing import Any

from trainer.config_tree.traverse import leaf_dataset, type_name
from trainer.core.errors import FrameworkError
from trainer.export.metadata import Input
from trainer.mmconfig.image_size import nominal_size

_WITHOUT_EFFECT = (
    *("LoadImage", "LoadImageFromFile", "LoadImageFromNDArray", "LoadAnnotations", "LoadPanopticAnnotations"),
    *("PackDetInputs", "PackSegInputs", "PackPoseInputs", "GetBBoxCenterScale"),
)
Size = tuple[int, int]


def input_of(
    config: dict[str, Any],
    size: Size | None,
    *,
    batch: int | None,
    dynamic_size: bool,
    preprocess: bool,
    divisor: int = 32,
) -> Input:
    """The input of a file for the model of ``config``.

    Args:
        size: (width, height) in px; None for that of validation.
        divisor: with ``dynamic_size``, what width and height are multiples of.

    Raises:
        FrameworkError: validation does something to the image that can't be told in a file's metadata.
    """
    steps = {type_name(step): step for step in leaf_dataset(config["val_dataloader"])["pipeline"]}
    resize = _resize(steps)
    preprocessor = config["model"].get("data_preprocessor") or {}
    mean = [float(value) for value in preprocessor.get("mean") or (0, 0, 0)]
    std = [float(value) for value in preprocessor.get("std") or (1, 1, 1)]
    pad = _pad_value(steps, mean)
    rgb = bool(preprocessor.get("bgr_to_rgb"))
    if preprocess and not rgb:  # such a file takes RGB, whatever the network has
        mean, std, pad, rgb = mean[::-1], std[::-1], pad[::-1], True
    if size is None and resize == "border":
        size = _bordered_size(config)
    width, height = size or _validation_size(steps, preprocessor)
    return Input(
        name="images",
        dtype="uint8" if preprocess else "float32",
        batch=batch,
        size=[width, height],
        dynamic_size=dynamic_size,
        divisor=divisor,
        channels="rgb" if rgb else "bgr",
        mean=mean,
        std=std,
        resize=resize,
        pad_value=pad,
        box_padding=float(steps.get("GetBBoxCenterScale", {}).get("padding", 1.25)),
        udp=any(bool(step.get("use_udp")) for step in steps.values()),
    )


def _resize(steps: dict[str, dict[str, Any]]) -> str:
    known = {"TopdownAffine": "crop", "BottomupResize": "center", "Resize": "fit", "FixScaleResize": "fit"}
    if _bordered(steps.get("RandomCenterCropPad", {})):
        known["RandomCenterCropPad"] = "border"
    strange = sorted(set(steps) - {*known, *_WITHOUT_EFFECT, "Pad"})
    if strange:
        raise FrameworkError(
            f"this model is validated with {', '.join(strange)}, which an exported file's user can't be told to do"
        )
    kind = next((known[name] for name in steps if name in known), None)
    if kind is None:
        raise FrameworkError("this model is validated on images of any size; none of its steps resizes them")
    if kind == "fit" and not steps.get("Resize", {"keep_ratio": True}).get("keep_ratio", False):
        return "stretch"
    return kind


def _bordered(step: dict[str, Any]) -> bool:
    """CenterNet's validation: an image in its own size in the middle of the next larger multiple of 32."""
    return bool(step.get("test_mode")) and (
        (*step.get("test_pad_mode", ()), step.get("test_pad_add_pix")) == ("logical_or", 31, 1)
    )


def _bordered_size(config: dict[str, Any]) -> Size:
    """Such an input for images of the size that the model is trained for."""
    width, height = nominal_size(config, "detection") or (512, 512)
    return (width | 31) + 1, (height | 31) + 1


def _validation_size(steps: dict[str, dict[str, Any]], preprocessor: dict[str, Any]) -> Size:
    for name in ("TopdownAffine", "BottomupResize"):
        if name in steps:
            return _pair(steps[name]["input_size"])
    if (steps.get("Pad") or {}).get("size"):
        return _pair(steps["Pad"]["size"])
    tested = preprocessor.get("test_cfg") or {}
    step = steps.get("Resize") or steps["FixScaleResize"]
    size = _pair(step["scale"])
    if (steps.get("Pad") or {}).get("pad_to_square"):
        size = (max(size), max(size))
    divisors = (
        preprocessor.get("pad_size_divisor"),
        tested.get("size_divisor"),
        steps.get("Pad", {}).get("size_divisor"),
    )
    unit = int(next((one for one in divisors if one), 1))
    return math.ceil(size[0] / unit) * unit, math.ceil(size[1] / unit) * unit


def _pad_value(steps: dict[str, dict[str, Any]], mean: list[float]) -> list[float]:
    if "TopdownAffine" in steps:
        return [0.0] * 3
    value: Any = None
    if "RandomCenterCropPad" in steps:
        value = steps["RandomCenterCropPad"].get("mean") or 0
    elif "BottomupResize" in steps:
        value = steps["BottomupResize"].get("pad_val", 0)
    elif "Pad" in steps:
        value = steps["Pad"].get("pad_val", 0)
        value = value.get("img", 0) if isinstance(value, dict) else value
    if value is None:
        return list(mean)  # padded after normalising, with 0
    return [float(value)] * 3 if isinstance(value, (int, float)) else [float(one) for one in value]


def _pair(value: Any) -> Size:
    return (int(value), int(value)) if isinstance(value, (int, float)) else (int(value[0]), int(value[1]))
