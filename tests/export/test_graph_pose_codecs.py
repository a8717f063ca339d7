"""Keypoints decoded in tensors are those of mmpose's codecs, on maps as trained models answer them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainer.core.errors import FrameworkError
from trainer.export.graph.keypoint_decoding import Blur, decoder_for

INPUT, MAP = (48, 64), (12, 16)
CODECS: dict[str, dict[str, Any]] = {
    "quarter": {"type": "MSRAHeatmap", "sigma": 2},
    "dark": {"type": "MSRAHeatmap", "sigma": 2, "unbiased": True},
    "dark-17": {"type": "MSRAHeatmap", "sigma": 3, "unbiased": True, "blur_kernel_size": 17},
    "udp": {"type": "UDPHeatmap", "sigma": 2},
    "udp-combined": {"type": "UDPHeatmap", "heatmap_type": "combined", "blur_kernel_size": 3},
    "megvii": {"type": "MegviiHeatmap", "kernel_size": 11},
}
VECTORS: dict[str, dict[str, Any]] = {
    "simcc": {"sigma": (4.9, 5.66)},
    "simcc-dark": {"sigma": (4.9, 5.66), "use_dark": True},
    "simcc-seen": {"sigma": (4.9, 5.66), "decode_visibility": True},
}


@pytest.fixture(scope="module")
def build() -> Any:
    import mmpose.codecs  # noqa: F401 - they register themselves
    from mmpose.registry import KEYPOINT_CODECS

    return lambda config: KEYPOINT_CODECS.build(dict(config))


def _bumps(count: int, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Maps (count, H, W), each with a bump somewhere, its centre between cells and sometimes beyond the edge."""
    height, width = shape
    x = random.uniform(-1, width, (count, 1, 1))
    y = random.uniform(-1, height, (count, 1, 1))
    high = random.uniform(0.3, 0.9, (count, 1, 1))
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None]
    bumps = high * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.0**2))
    return (bumps + random.uniform(0, 0.01, (count, height, width))).astype(np.float32)


@pytest.mark.parametrize("name", CODECS)
def test_heat_maps(name: str, build: Any) -> None:
    codec = build({"input_size": INPUT, "heatmap_size": MAP, **CODECS[name]})
    random = np.random.default_rng(0)
    maps = _bumps(8 * 12, MAP[::-1], random).reshape(8, 12, *MAP[::-1])
    if name == "udp-combined":
        maps[:, 1::3] = random.uniform(-1, 1, maps[:, 1::3].shape)
        maps[:, 2::3] = random.uniform(-1, 1, maps[:, 2::3].shape)
    _same(decoder_for(codec), codec, (maps,))


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str, build: Any) -> None:
    codec = build({"type": "SimCCLabel", "input_size": INPUT, "simcc_split_ratio": 2.0, **VECTORS[name]})
    random = np.random.default_rng(0)
    maps = _bumps(8 * 12, (128, 96), random).reshape(8, 12, 128, 96)
    _same(decoder_for(codec), codec, (maps.max(2), maps.max(3)))


@pytest.mark.parametrize("name", ["quarter", "dark", "megvii"])
def test_nothing_seen_is_at_minus_one(name: str, build: Any) -> None:
    codec = build({"input_size": INPUT, "heatmap_size": MAP, **CODECS[name]})
    maps = np.zeros((1, 3, *MAP[::-1]), np.float32) - 0.25
    with np.errstate(all="ignore"):
        expected, _ = codec.decode(maps[0].copy())
    found = decoder_for(codec)(torch.from_numpy(maps))[0]
    assert np.allclose(found[:, :2], expected[0], atol=1e-5)


def test_the_blur_is_opencvs() -> None:
    import cv2

    random = np.random.default_rng(0)
    for size in (3, 7, 11, 17):
        border = size // 2
        image = random.uniform(0, 1, (20, 30)).astype(np.float32)
        padded = cv2.GaussianBlur(np.pad(image, border), (size, size), 0)[border:-border, border:-border]
        found = Blur(size)(torch.from_numpy(image)[None, None])[0, 0].numpy()
        assert np.abs(found - padded).max() < 1e-6
        mirrored = Blur(size, "reflect")(torch.from_numpy(image)[None, None])[0, 0].numpy()
        assert np.abs(mirrored - cv2.GaussianBlur(image, (size, size), 0)).max() < 1e-6


def test_another_codec_is_refused_by_its_name() -> None:
    with pytest.raises(FrameworkError, match="dict.*SimCCLabel"):
        decoder_for({})


def _same(decode: Any, codec: Any, answers: tuple[np.ndarray, ...]) -> None:
    found = decode(*(torch.from_numpy(one) for one in answers)).numpy()
    for picture, ours in enumerate(found):
        keypoints, scores = (
            codec.decode(*(one[picture : picture + 1].copy() for one in answers))
            if len(answers) == 2
            else codec.decode(answers[0][picture].copy())
        )
        scores = scores[0] if isinstance(scores, tuple) else scores
        assert np.abs(ours[:, 2] - scores[0]).max() < 1e-5
        assert np.abs(ours[:, :2] - keypoints[0]).max() < 5e-3
