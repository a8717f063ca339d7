"""Half precision where it is safe: the networks' layers; decoding boxes and NMS stay in float32."""

from __future__ import annotations

from typing import Any

PARTS = ("backbone", "neck", "bbox_head", "rpn_head", "mask_head", "decode_head", "head")


def use_half_precision(model: Any) -> list[str]:
    """Have the parts of an OpenMMLab model compute in bfloat16 (CPU) or float16 (GPU), and answer in float32.

    Deformable operators, which mmcv has for float32 on CPUs alone, keep their part in float32.

    Returns:
        The parts that compute in half precision.
    """
    changed: list[str] = []
    for name, part in model.named_modules():
        if name.rpartition(".")[2] not in PARTS or any(name.startswith(f"{other}.") for other in changed):
            continue
        if any("Deform" in type(one).__name__ for one in part.modules()):
            continue
        if not callable(getattr(part, "forward", None)) or type(part).__name__ == "ModuleList":
            continue
        _wrap(part)
        changed.append(name)
    return changed


def _wrap(part: Any) -> None:
    import torch

    forward = part.forward

    def in_half(*args: Any, **kwargs: Any) -> Any:
        kind = next(part.parameters()).device.type
        dtype = torch.float16 if kind == "cuda" else torch.bfloat16
        with torch.autocast(kind, dtype=dtype):
            return _float(forward(*args, **kwargs))

    part.forward = in_half


def _float(value: Any) -> Any:
    """``value`` with all half-precision tensors in it as float32."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, (list, tuple)):
        items = [_float(one) for one in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _float(one) for key, one in value.items()}
    return value
