"""A validation's results, from all processes into the first one."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch.distributed as dist

_groups: dict[str, Any] = {}


def collect_results(
    results: list[Any], size: int, device: str = "cpu", tmpdir: str | None = None
) -> list[Any] | None:
    """The results of all processes in the data's order, each image's once, in the first one; None in the others.

    Takes the place of mmengine's function of that name. Pickled results go from memory to memory, whatever
    ``device`` and ``tmpdir`` say.

    Args:
        size: images of the data set. Samplers fill up with the first ones again; those come last.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return results[:size]
    parts: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(results, parts, dst=0, group=_side())
    if parts is None:
        return None
    return [one for row in zip_longest(*parts) for one in row if one is not None][:size]


def _side() -> Any:
    """A gloo group of the running process group: nccl would need the results on the GPUs."""
    if _groups.get("of") is not dist.group.WORLD:
        _groups.update(of=dist.group.WORLD, side=dist.new_group(backend="gloo"))
    return _groups["side"]
