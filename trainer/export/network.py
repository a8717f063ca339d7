"""The part of a model that is exported: from a normalised image to raw outputs, as a flat tuple of tensors."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten_with_path

NOT_IN_THE_GRAPH = "normalising the image, decoding boxes and removing duplicates (NMS) are not in the graph"


class Network(nn.Module):
    """A model's ``forward(mode="tensor")``.

    Args:
        model: an OpenMMLab model in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        samples = inspect.signature(model.forward).parameters.get("data_samples")
        # mmpose wants the argument, the others have it as None.
        self._extra = (None,) if samples is not None and samples.default is inspect.Parameter.empty else ()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``image`` (N, 3, H, W) float -> the tensors of whatever nest the model returns, in its order."""
        return tuple(value for _, value in self._flat(image))

    def output_names(self, image: torch.Tensor) -> list[str]:
        """A name for each output, by its place in the nest: ``output_0_1`` is the second of the first list."""
        with torch.no_grad():
            places = [path for path, _ in self._flat(image)]
        return ["_".join(["output", *(_place(key) for key in path)]) for path in places]

    def _flat(self, image: torch.Tensor) -> list[tuple[Any, torch.Tensor]]:
        leaves, _ = tree_flatten_with_path(self.model(image, *self._extra, mode="tensor"))
        return [(path, value) for path, value in leaves if isinstance(value, torch.Tensor)]


def _place(key: Any) -> str:
    for name in ("idx", "key", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)
