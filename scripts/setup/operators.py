"""Check mmcv's compiled operators against plain computations: ``python operators.py``, exit 0 or 1.

Run after compiling, since a unity build that compiled may still have bound the wrong function. Each
check takes the operator itself, so that a test can hand it a wrong one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

Tensor = Any
TOLERANCE = 1e-4

# Two boxes over each other (IoU 0.6807), a third far away, and a fourth inside the third (IoU 0.64).
BOXES = [[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0], [20.0, 20.0, 28.0, 28.0]]
SCORES = [0.9, 0.8, 0.7, 0.95]


class WrongOperator(Exception):
    """An operator does not compute what it should; the message says which and by how much."""


def check_nms(nms: Callable) -> None:
    """Hard suppression at IoU 0.5 keeps one of each pair, best first."""
    import torch

    dets, keep = nms(torch.tensor(BOXES), torch.tensor(SCORES), 0.5)
    _same("nms (kept)", keep, torch.tensor([3, 0]))
    _same("nms (scores)", dets[:, 4], torch.tensor([0.95, 0.9]))


def check_soft_nms(soft_nms: Callable) -> None:
    """Linear soft suppression: a pair's weaker score is multiplied by 1 - IoU when IoU > 0.3."""
    import torch

    dets, keep = soft_nms(torch.tensor(BOXES), torch.tensor(SCORES), 0.3, 0.5, 1e-3, "linear")
    expected = [0.95, 0.9, 0.8 * (1 - _iou(BOXES[0], BOXES[1])), 0.7 * (1 - _iou(BOXES[2], BOXES[3]))]
    _same("soft_nms (kept)", keep, torch.tensor([3, 0, 1, 2]))
    _same("soft_nms (scores)", dets[:, 4], torch.tensor(expected))


def check_roi_align(roi_align: Callable) -> None:
    """On a ramp every bin's average is the ramp at the bin's centre; its gradient sums to the output's."""
    import torch

    ramp = torch.arange(8.0).repeat(8, 1)[None, None] + 10 * torch.arange(8.0)[:, None]
    ramp.requires_grad_()
    rois = torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]])
    out = roi_align(ramp, rois, (2, 2), 1.0, 2, "avg", True)
    centres = torch.tensor([1.5, 3.5])
    _same("roi_align", out.detach()[0, 0], centres[None] + 10 * centres[:, None])
    (gradient,) = torch.autograd.grad(out.sum(), ramp)
    _same("roi_align (gradient)", gradient.sum(), torch.tensor(4.0))


def check_deform_conv(deform_conv2d: Callable) -> None:
    """Without offsets it is a convolution; one pixel to the right it is that of the shifted image."""
    import torch

    torch.manual_seed(0)
    image, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3)
    offset = torch.zeros(1, 18, 4, 4)
    plain = torch.nn.functional.conv2d
    _same("deform_conv2d", deform_conv2d(image, offset, weight), plain(image, weight))
    offset[:, 1::2] = 1.0
    shifted = torch.nn.functional.pad(image, (0, 1))[..., 1:]
    _same("deform_conv2d (shifted)", deform_conv2d(image, offset, weight), plain(shifted, weight))


def check_modulated(modulated_deform_conv2d: Callable) -> None:
    """With half masks and no offsets it is half a convolution plus the bias."""
    import torch

    torch.manual_seed(0)
    image, weight, bias = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3), torch.randn(3)
    offset, mask = torch.zeros(1, 18, 4, 4), torch.full((1, 9, 4, 4), 0.5)
    out = modulated_deform_conv2d(image, offset, mask, weight, bias, 1, 0, 1, 1, 1)
    _same("modulated_deform_conv2d", out, torch.nn.functional.conv2d(image, weight / 2, bias))


def check_rotated_iou(box_iou_rotated: Callable) -> None:
    """A square over itself turned by 45 degrees: the common octagon against the union."""
    import torch

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 2.0, 2.0, math.pi / 4]])
    octagon = 8 * (math.sqrt(2) - 1)
    expected = torch.tensor([[1.0, octagon / (8 - octagon)]])
    _same("box_iou_rotated", box_iou_rotated(boxes[:1], boxes), expected)


def check_all() -> int:
    """Run every check on the installed mmcv; return how many ran."""
    from mmcv import ops

    checks: list[tuple[Callable, Callable]] = [
        (check_nms, ops.nms),
        (check_soft_nms, ops.soft_nms),
        (check_roi_align, ops.roi_align),
        (check_deform_conv, ops.deform_conv2d),
        (check_modulated, ops.modulated_deform_conv2d),
        (check_rotated_iou, ops.box_iou_rotated),
    ]
    for check, operator in checks:
        check(operator)
    return len(checks)


def _iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def _same(name: str, got: Tensor, expected: Tensor) -> None:
    if got.shape != expected.shape:
        raise WrongOperator(f"{name}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    difference = float((got - expected).abs().max())
    if not difference <= TOLERANCE:
        raise WrongOperator(f"{name}: off by {difference:g}, tolerance {TOLERANCE:g}")


if __name__ == "__main__":
    try:
        print(f"{check_all()} operator checks passed")
    except (WrongOperator, ImportError, RuntimeError, AttributeError, TypeError) as wrong:
        print(f"operator check failed: {wrong}")
        sys.exit(1)
