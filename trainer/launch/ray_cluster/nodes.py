"""The machines of a Ray cluster, and what fits on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A machine: its address, and what it has in all, by Ray's names (``memory`` in bytes)."""

    name: str
    resources: dict[str, float]

    @property
    def text(self) -> str:
        """``8 CPU, 2 GPU``."""
        own = {name: amount for name, amount in self.resources.items() if not name.startswith(_INTERNAL)}
        return ", ".join(f"{amount:g} {name}" for name, amount in own.items() if name != "memory")


def fitting(nodes: Iterable[Node], worker: Mapping[str, float]) -> int:
    """How many workers fit on all of them; a worker is never divided between two.

    Args:
        worker: what one holds, by Ray's names.
    """
    return sum(
        min(
            (math.floor(node.resources.get(name, 0.0) / amount + 1e-9) for name, amount in worker.items()),
            default=0,
        )
        for node in nodes
    )


_INTERNAL = ("node:", "object_store_memory", "accelerator_type:")
