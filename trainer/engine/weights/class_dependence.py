"""Which tensors of a model depend on what: asked of the model itself, by building it once more with one class more.

Nothing is known here of heads and their names. The second model is built on torch's ``meta`` device, where tensors
have shapes and no memory; it takes a fraction of a second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainer.mmconfig.image_size import nominal_size, set_image_size
from trainer.mmconfig.num_classes import set_num_classes, set_num_keypoints

Shapes = dict[str, tuple[int, ...]]
# What stands with the classes in one dimension, and where: nothing; one background row after them; the box and its
# score before them (YOLOv3: x, y, w, h, objectness).
LEADING = {0: 0, 1: 0, 5: 5}


@dataclass(frozen=True)
class ClassAxis:
    """How one tensor depends on the number of classes ``n``: its ``dim`` has ``times * (n + extra)`` entries.

    ``by_class``: the ``times`` entries of a class lie together (4 numbers of its box), rather than the classes
    together in each of ``times`` groups (anchors).
    """

    dim: int
    times: int
    extra: int
    by_class: bool = False

    def classes(self, size: int) -> int | None:
        """The number of classes in a dimension of that size; None when there is none."""
        count, rest = divmod(size, self.times)
        return count - self.extra if rest == 0 and count >= self.extra else None

    @property
    def known(self) -> bool:
        """Whether it is known which of the entries are which class's."""
        return self.extra in LEADING


def class_axes(
    model: nn.Module, cfg: Mapping[str, Any], count: int, pose: bool
) -> dict[str, ClassAxis | None]:
    """The tensors of ``model``, built from ``cfg["model"]``, that depend on its ``count`` classes (or keypoints).

    None for one that depends on them in more than one dimension.
    """
    more = copy.deepcopy(dict(cfg["model"]))
    (set_num_keypoints if pose else set_num_classes)(more, count + 1)
    here, there = shapes(model), _shapes_of(more, cfg)
    return {
        key: _axis(model, key, shape, there[key], count, pose)
        for key, shape in here.items()
        if key in there and there[key] != shape
    }


def size_dependent(model: nn.Module, cfg: Mapping[str, Any], task: str) -> set[str]:
    """The tensors whose shape depends on the size of the network's input."""
    larger = copy.deepcopy(dict(cfg))
    size = nominal_size(larger, task)
    if size is None:
        return set()
    set_image_size(larger, task, (size[0] * 2, size[1] * 4))
    here, there = shapes(model), _shapes_of(larger["model"], cfg)
    return {key for key, shape in here.items() if there.get(key, shape) != shape}


def shapes(model: nn.Module) -> Shapes:
    """The shape of every tensor of ``state_dict()``."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def _axis(
    model: nn.Module, key: str, here: tuple[int, ...], there: tuple[int, ...], count: int, pose: bool
) -> ClassAxis | None:
    moved = [dim for dim, sizes in enumerate(zip(here, there, strict=False)) if sizes[0] != sizes[1]]
    if len(here) != len(there) or len(moved) != 1:
        return None
    (dim,) = moved
    times = there[dim] - here[dim]
    if times < 1 or here[dim] % times:
        return None
    owner: Any = model.get_submodule(key.rpartition(".")[0])
    # A layer over all positions answers anchor by anchor; one for a box, class by class.
    return ClassAxis(dim, times, here[dim] // times - count, by_class=pose or isinstance(owner, nn.Linear))


def _shapes_of(model: dict[str, Any], cfg: Mapping[str, Any]) -> Shapes:
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    def build() -> Shapes:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            return shapes(MODELS.build(ConfigDict(copy.deepcopy(model))))

    return without_memory(build)


def without_memory(build: Callable[[], Shapes]) -> Shapes:
    """``build()`` on the meta device, or, for models that need numbers while they are built, in memory.

    Random numbers drawn meanwhile are given back.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except (RuntimeError, NotImplementedError, ValueError):
            return build()
