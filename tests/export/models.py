"""Models of any family with random but lively weights, as a predictor: no files, no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.mmconfig.bases import build
from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.inference.load_model import _build, _prepare
from trainer.inference.predictor import Predictor
from trainer.inference.suppress_output import suppress_output
from trainer.schema.conf_folders import Conf


def make_predictor(
    name: str, size: tuple[int, int] = (96, 96), mm: dict[str, Any] | None = None
) -> Predictor:
    """A named model (``conf/model``), or ``<task>:<base>``, for digits of ``size`` (width, height) in px.

    Args:
        mm: differences to the MMEngine config.
    """
    if "::" in name:
        task, _, base = name.partition(":")
    else:
        facts = Conf().read("model", name)
        task, base = facts["tasks"][0], facts["base"]
    with suppress_output():
        _prepare("cpu")
        config = build(base, task, dataset__image_size=list(size), mm=mm or {})
        torch.manual_seed(0)
        model = _build(config, Path(name))
        settle(model)
        model.dataset_meta = {"classes": ("digit",)}
        if task == "pose":
            model.dataset_meta |= {"flip_indices": [0, 3, 2, 1], "flip_pairs": [(1, 3)], "num_keypoints": 4}
            model.test_cfg["flip_test"] = False  # an exported graph looks at the picture once
        about = {"task": task, "model": name, "dataset": "digits", "classes": [str(one) for one in range(10)]}
        predictor = Predictor(model.eval(), config, about, 1, ResolvedCheckpoint(Path(name), None))
        enliven(predictor, pictures(size, 1))
    return predictor


def settle(model: Any) -> None:
    """Fill parameters that only training's initialisation does; else they are whatever the memory held."""
    if isinstance(getattr(model, "level_embed", None), nn.Parameter):
        nn.init.normal_(model.level_embed)
    for layer in model.modules():
        if type(layer).__name__ == "L2Norm":  # SSD: with 0 a level answers the same everywhere
            nn.init.constant_(layer.weight, layer.scale)


def pictures(size: tuple[int, int], count: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth coloured noise, BGR uint8 (H, W, 3)."""
    width, height = size
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.integers(0, 256, (count, 3, height // 8 + 1, width // 8 + 1))).float()
    fine = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return [np.ascontiguousarray(one) for one in fine.byte().permute(0, 2, 3, 1).numpy()]


def enliven(predictor: Predictor, images: list[np.ndarray]) -> None:
    """Give every layer weights whose output is of about unit size, so that there is something to detect.

    A fresh network answers nearly the same everywhere.
    """
    hooks = [
        layer.register_forward_hook(_Unit())
        for layer in predictor.model.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.requires_grad
    ]
    with torch.no_grad(), predictor.in_scope():
        list(predictor.predict(images))
    for hook in hooks:
        hook.remove()


class _Unit:
    """A forward hook that scales a layer once, by what it answers at first."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, layer: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if self.done or output.numel() == 0:
            return None
        self.done = True
        scale = output.std().clamp(min=1e-6) if output.numel() > 1 else output.abs().clamp(min=1e-6)[0]
        layer.weight.data /= scale
        if layer.bias is not None:
            layer.bias.data /= scale
        return output / scale
