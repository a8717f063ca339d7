"""What an export is asked for: the command's keys, and those of the platform's ``EXPORT_CONFIG``. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import Export, export_formats

_IGNORED = {
    "task_type": "the checkpoint says its task",
    "minimum_deployment_target": "that is for CoreML",
    "pruning_amount": "weights are not pruned at export",
    "validate_outputs": "the proof is always made",
    "num_samples": "the proof looks at the validation split",
}
_KEYS: dict[str, tuple[str, type]] = {
    "opset_version": ("opset", int),
    "opset": ("opset", int),
    "embed_preprocessing": ("preprocess", bool),
    "simplify": ("simplify", bool),
    "fp16": ("half", bool),
    "half": ("half", bool),
    "int8": ("int8", bool),
    "workspace_size_gb": ("workspace_gb", float),
    "workspace": ("workspace_gb", float),
    "calibration_dataset_size": ("calibration_images", int),
    "tolerance": ("tolerance", float),
    "confidence_threshold": ("score_threshold", float),
    "conf": ("score_threshold", float),
    "iou_threshold": ("nms_iou", float),
    "iou": ("nms_iou", float),
    "max_detections": ("max_detections", int),
    "max_det": ("max_detections", int),
}
_SHAPES = ("input_shape", "dynamic_axes", "dynamic", "batch_size", "batch", "imgsz", "image_size")
_QUANTIZATION = {
    "int8": "int8",
    "static": "int8",
    "fp16": "half",
    "float16": "half",
    "none": None,
    "fp32": None,
}


def formats(config: Export) -> tuple[str, ...]:
    """The formats in the order in which they are made, each once.

    Raises:
        ConfigError: settings that no file can have together.
    """
    named = [config.format] if isinstance(config.format, str) else list(config.format)
    chosen = tuple(one for one in export_formats() if one in named)
    if config.int8 and "torchscript" in chosen:
        raise ConfigError(
            "int8=true: there is no TorchScript with 8-bit integers; format=onnx or tensorrt has it"
        )
    if config.int8 and config.half and chosen != ("tensorrt",):
        raise ConfigError(
            "half=true and int8=true: a file has one precision; choose one (TensorRT alone takes both)"
        )
    return chosen


def precision(config: Export) -> str:
    """fp32, fp16 or int8: what is asked for."""
    return "int8" if config.int8 else "fp16" if config.half else "fp32"


def from_export_config(content: Mapping[str, Any] | str) -> tuple[list[str], list[str]]:
    """The published ``EXPORT_CONFIG`` (or the backend's export CONFIG) as overrides of the export command.

    Null is unset. Keys that mean nothing here are ignored, with a note.

    Args:
        content: the object, or its JSON.

    Returns:
        (overrides such as ``opset=17``, notes on what was ignored and why)

    Raises:
        ConfigError: no JSON object, or values of the wrong type; all of them in one message.
    """
    given = {key: value for key, value in _object(content).items() if value is not None}
    chosen: dict[str, Any] = {}
    notes: list[str] = []
    mistakes: list[str] = []
    for key, value in given.items():
        if key in _KEYS:
            name, kind = _KEYS[key]
            if _is(value, kind):
                chosen[name] = value
            else:
                mistakes.append(f"{key}: expected {_WORDS[kind]}, got {value!r}")
        elif key == "quantization_type":
            _quantization(value, chosen, mistakes)
        elif key in _SHAPES:
            continue
        elif key in _IGNORED:
            notes.append(f"EXPORT_CONFIG: {key} is ignored: {_IGNORED[key]}")
        else:
            hint = did_you_mean(key, (*_KEYS, *_SHAPES, *_IGNORED, "quantization_type"))
            notes.append(f"EXPORT_CONFIG: {key} is ignored: this trainer has no such key.{hint}")
    _shape(given, chosen, mistakes)
    if mistakes:
        raise ConfigError(f"EXPORT_CONFIG: {'; '.join(mistakes)}")
    return [f"{name}={_word(value)}" for name, value in chosen.items()], notes


def _object(content: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(content, str):
        try:
            content = json.loads(content) if content.strip() else {}
        except ValueError as error:
            raise ConfigError(f"EXPORT_CONFIG is no JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise ConfigError(f"EXPORT_CONFIG: expected a JSON object, got {type(content).__name__}")
    return content


def _quantization(value: Any, chosen: dict[str, Any], mistakes: list[str]) -> None:
    if str(value).lower() not in _QUANTIZATION:
        mistakes.append(f"quantization_type: expected one of {', '.join(_QUANTIZATION)}, got {value!r}")
    elif name := _QUANTIZATION[str(value).lower()]:
        chosen[name] = True


def _shape(given: Mapping[str, Any], chosen: dict[str, Any], mistakes: list[str]) -> None:
    """Batch and size. A dimension that ``dynamic_axes`` opens is open, whatever ``input_shape`` says of it."""
    try:
        if "input_shape" in given:
            chosen |= _sides(given["input_shape"])
        for key in ("imgsz", "image_size"):
            if key in given:
                chosen["size"] = _pair(given[key], key)
        for key in ("batch_size", "batch"):
            if key in given:
                chosen["batch"] = _count(given[key], key)
        axes = _axes(given.get("dynamic_axes") or {})
    except ConfigError as error:
        mistakes.append(str(error))
        return
    if given.get("dynamic") is True or 0 in axes:
        chosen["batch"] = "dynamic"
    if axes & {2, 3}:
        chosen["dynamic_size"] = True


def _sides(shape: Any) -> dict[str, Any]:
    """[N, 3, H, W], [N, H, W, 3], [3, H, W], [H, W, 3] or [H, W]; -1, null and words are open dimensions."""
    if not isinstance(shape, (list, tuple)) or len(shape) not in (2, 3, 4):
        raise ConfigError(f"input_shape: expected [batch, 3, height, width], got {shape!r}")
    sides = [side if _is(side, int) and side > 0 else None for side in shape]
    batch = sides.pop(0) if len(sides) == 4 else 0
    if len(sides) == 3:
        channels = 0 if sides[0] == 3 else 2
        if sides[channels] != 3:
            raise ConfigError(f"input_shape: expected 3 channels, as in [1, 3, 640, 640], got {shape!r}")
        sides.pop(channels)
    found: dict[str, Any] = {} if batch == 0 else {"batch": batch or "dynamic"}
    if None in sides:
        found["dynamic_size"] = True
    else:
        found["size"] = [sides[1], sides[0]]
    return found


def _axes(axes: Any) -> set[int]:
    """Which dimensions of the input ``{"images": [0, 2]}`` or ``{"images": {"0": "batch"}}`` opens."""
    if not isinstance(axes, Mapping):
        raise ConfigError(f"dynamic_axes: expected an object as {{'images': [0]}}, got {axes!r}")
    inputs: Iterable[Any] = [value for name, value in axes.items() if not str(name).startswith("output")]
    found: set[int] = set()
    for value in inputs:
        for one in value if isinstance(value, (list, tuple, Mapping)) else [value]:
            if not str(one).lstrip("-").isdigit() or int(one) not in range(4):
                raise ConfigError(f"dynamic_axes: expected dimensions from 0 to 3, got {one!r}")
            found.add(int(one))
    return found


def _pair(value: Any, key: str) -> list[int]:
    sides = [value, value] if _is(value, int) else value
    if (
        not isinstance(sides, (list, tuple))
        or len(sides) != 2
        or not all(_is(s, int) and s > 0 for s in sides)
    ):
        raise ConfigError(f"{key}: expected a size in px, or [height, width], got {value!r}")
    return [sides[1], sides[0]]


def _count(value: Any, key: str) -> int | str:
    if value in (-1, "dynamic"):
        return "dynamic"
    if not _is(value, int) or value < 1:
        raise ConfigError(f"{key}: expected an integer >= 1, got {value!r}")
    return int(value)


_WORDS = {int: "an integer", float: "a number", bool: "true or false"}


def _is(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)


def _word(value: Any) -> str:
    """As Hydra's grammar has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)
