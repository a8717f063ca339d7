"""Decoding heat maps and SimCC vectors in tensors, as mmpose's codecs do in numpy and OpenCV."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.core.errors import FrameworkError

CODECS = ("SimCCLabel", "MSRAHeatmap", "UDPHeatmap", "MegviiHeatmap")


def decoder_for(codec: Any) -> nn.Module:
    """A module that decodes as ``codec.decode`` does, for a batch.

    It takes heat maps (N, K, H, W), or the two SimCC tensors (N, K, W') and (N, K, H'), and gives (N, K, 3): x and y
    in px of the network's input, and the score. A keypoint whose map has no positive value is at the place of -1.

    Raises:
        FrameworkError: a codec that isn't among :data:`CODECS`.
    """
    name = type(codec).__name__
    if name == "SimCCLabel":
        return SimCC(codec)
    if name == "MSRAHeatmap":
        return Dark(codec) if codec.unbiased else Quarter(codec)
    if name == "UDPHeatmap":
        return Offsets(codec) if codec.heatmap_type == "combined" else DarkUDP(codec)
    if name == "MegviiHeatmap":
        return Megvii(codec)
    raise FrameworkError(
        f"its keypoints are decoded by {name}, which can't be put into a graph; these can: {', '.join(CODECS)}"
    )


class SimCC(nn.Module):
    """The largest value of each axis; with ``use_dark`` refined by the slope there."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.ratio, self.dark = float(codec.simcc_split_ratio), bool(codec.use_dark)
        self.blur_x, self.blur_y = (_blur(_odd(int((sigma * 20 - 7) // 3))) for sigma in codec.sigma)

    def forward(self, across: Tensor, down: Tensor) -> Tensor:
        best_x, at_x = across.max(-1)
        best_y, at_y = down.max(-1)
        scores = torch.minimum(best_x, best_y)
        seen = (scores > 0).to(scores.dtype)
        # Not seen is at -1.
        x, y = ((at.to(scores.dtype) + 1) * seen - 1 for at in (at_x, at_y))
        if self.dark:
            x, y = _along(x, across, self.blur_x), _along(y, down, self.blur_y)
        return torch.stack((x / self.ratio, y / self.ratio, scores), -1)


class Quarter(nn.Module):
    """The largest value, moved a quarter of a cell towards the larger neighbour."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.scale = _pair(codec.scale_factor)

    def forward(self, maps: Tensor) -> Tensor:
        x, y, scores = _largest(maps)
        height, width = maps.shape[2:]
        dx = _at(maps, x + 1, y) - _at(maps, x - 1, y)
        dy = _at(maps, x, y + 1) - _at(maps, x, y - 1)
        dx = dx * ((x > 1) & (x < width - 1) & (y > 0)).to(dx.dtype)
        dy = dy * ((y > 1) & (y < height - 1) & (x > 0)).to(dy.dtype)
        return _scaled(x + dx.sign() * 0.25, y + dy.sign() * 0.25, scores, self.scale)


class Dark(nn.Module):
    """The largest value, refined by the shape of the blurred map's logarithm (``unbiased=True``)."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.scale, self.blur = _pair(codec.scale_factor), _blur(codec.blur_kernel_size)

    def forward(self, maps: Tensor) -> Tensor:
        x, y, scores = _largest(maps)
        height, width = maps.shape[2:]
        logs = _as_high(self.blur(maps), maps).clamp(min=1e-10).log()
        here = _at(logs, x, y)
        dx = 0.5 * (_at(logs, x + 1, y) - _at(logs, x - 1, y))
        dy = 0.5 * (_at(logs, x, y + 1) - _at(logs, x, y - 1))
        dxx = 0.25 * (_at(logs, x + 2, y) - 2 * here + _at(logs, x - 2, y))
        dyy = 0.25 * (_at(logs, x, y + 2) - 2 * here + _at(logs, x, y - 2))
        ahead = _at(logs, x + 1, y + 1) - _at(logs, x + 1, y - 1)
        dxy = 0.25 * (ahead - _at(logs, x - 1, y + 1) + _at(logs, x - 1, y - 1))
        area = dxx * dyy - dxy * dxy
        inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2) & (area != 0)
        area = torch.where(inside, area, torch.ones_like(area))
        still = torch.zeros_like(area)
        x = x - torch.where(inside, (dyy * dx - dxy * dy) / area, still)
        y = y - torch.where(inside, (dxx * dy - dxy * dx) / area, still)
        return _scaled(x, y, scores, self.scale)


class DarkUDP(nn.Module):
    """UDP's refinement by the blurred map's logarithm."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.scale, self.blur = _aligned(codec), _blur(codec.blur_kernel_size)

    def forward(self, maps: Tensor) -> Tensor:
        x, y, scores = _largest(maps)
        logs = _as_high(self.blur(maps), maps).clamp(1e-3, 50.0).log()
        here = _at(logs, x, y)
        right, left = _at(logs, x + 1, y), _at(logs, x - 1, y)
        below, above = _at(logs, x, y + 1), _at(logs, x, y - 1)
        corners = _at(logs, x + 1, y + 1) + _at(logs, x - 1, y - 1)
        dx, dy = 0.5 * (right - left), 0.5 * (below - above)
        tiny = torch.finfo(torch.float32).eps
        dxx, dyy = right - 2 * here + left + tiny, below - 2 * here + above + tiny
        dxy = 0.5 * (corners - right - below + here + here - left - above)
        area = dxx * dyy - dxy * dxy
        return _scaled(x - (dyy * dx - dxy * dy) / area, y - (dxx * dy - dxy * dx) / area, scores, self.scale)


class Offsets(nn.Module):
    """UDP's three maps a keypoint: where it is, and how far off in x and y (``heatmap_type="combined"``)."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.scale, self.blur = _aligned(codec), _blur(2 * codec.blur_kernel_size + 1, mode="reflect")
        self.radius = float(codec.radius_factor) * max(codec.heatmap_size)

    def forward(self, maps: Tensor) -> Tensor:
        x, y, scores = _largest(self.blur(maps[:, 0::3]))
        right, down = _at(maps[:, 1::3], x, y), _at(maps[:, 2::3], x, y)
        return _scaled(x + right * self.radius, y + down * self.radius, scores, self.scale)


class Megvii(nn.Module):
    """The blurred map's largest value, moved a quarter of a cell; its scores count from 0 to 255."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.scale, self.blur = _pair(codec.scale_factor), _blur(codec.kernel_size)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        blurred = _as_high(self.blur(maps), maps)
        x, y, scores = _largest(blurred)
        inside = ((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)).to(maps.dtype)
        dx = _at(blurred, x + 1, y) - _at(blurred, x - 1, y)
        dy = _at(blurred, x, y + 1) - _at(blurred, x, y - 1)
        x, y = x + (dx.sign() * 0.25 + 0.5) * inside, y + (dy.sign() * 0.25 + 0.5) * inside
        return _scaled(x, y, scores / 255.0 + 0.5, self.scale)


class Blur(nn.Module):
    """OpenCV's Gaussian blur of maps (N, K, H, W) or vectors (N, K, W); beyond the edge is nothing, or the mirror."""

    def __init__(self, size: int, mode: str = "constant") -> None:
        super().__init__()
        import cv2

        weights = torch.from_numpy(cv2.getGaussianKernel(size, 0)).float()  # its own tables for small sizes
        self.register_buffer("kernel", weights.view(1, 1, 1, size), persistent=False)
        self.border, self.mode = size // 2, mode

    def forward(self, maps: Tensor) -> Tensor:
        kernel, border = self.kernel, self.border
        flat = maps.flatten(0, 1).unsqueeze(1)
        if maps.dim() == 3:
            flat = functional.pad(flat.unsqueeze(1), (border, border, 0, 0), self.mode)
            return functional.conv2d(flat, kernel).view(maps.shape)
        flat = functional.pad(flat, (border, border, border, border), self.mode)
        flat = functional.conv2d(functional.conv2d(flat, kernel), kernel.transpose(2, 3))
        return flat.view(maps.shape)


_blur = Blur


def _odd(size: int) -> int:
    return size - int(size % 2 == 0)


def _pair(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _aligned(codec: Any) -> tuple[float, float]:
    """px of the input a cell, where the first cell is at the first px and the last one at the image's end."""
    (width, height), (across, down) = codec.input_size, codec.heatmap_size
    return width / (across - 1), height / (down - 1)


def _largest(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y (in cells) and value of the largest of each map (N, K); -1, -1 where none is above 0."""
    width = maps.shape[3]
    values, place = maps.flatten(2).max(-1)
    y = torch.div(place, width, rounding_mode="floor")
    x = place - y * width
    seen = (values > 0).to(maps.dtype)
    return (x.to(maps.dtype) + 1) * seen - 1, (y.to(maps.dtype) + 1) * seen - 1, values


def _at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The values (N, K) of maps (N, K, H, W) at places (N, K); beyond the edge the nearest."""
    height, width = maps.shape[2:]
    place = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return maps.flatten(2).gather(2, place.long().unsqueeze(-1)).squeeze(-1)


def _as_high(blurred: Tensor, maps: Tensor) -> Tensor:
    """Blurred maps, scaled so that each is as high as it was."""
    axes = tuple(range(2, maps.dim()))
    return blurred * (maps.amax(axes, keepdim=True) / blurred.amax(axes, keepdim=True))


def _along(place: Tensor, vector: Tensor, blur: nn.Module) -> Tensor:
    """Places (N, K) on vectors (N, K, W), refined by the blurred vectors' logarithm."""
    logs = _as_high(blur(vector), vector).clamp(1e-3, 50.0).log()
    last = vector.shape[2] - 1
    middle = (place + 0.5).floor()

    def at(offset: int) -> Tensor:
        return logs.gather(2, (middle + offset).clamp(0, last).long().unsqueeze(-1)).squeeze(-1)

    slope = 0.5 * (at(1) - at(-1))
    bend = 1e-9 + 0.25 * (at(2) - 2 * at(0) + at(-2))
    return place - slope / bend


def _scaled(x: Tensor, y: Tensor, scores: Tensor, scale: tuple[float, float]) -> Tensor:
    return torch.stack((x * scale[0], y * scale[1], scores), -1)
