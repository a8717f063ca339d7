"""The machines of a Ray cluster, and how many workers fit on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        name: its address.
        resources: all its resources by Ray's names; ``memory`` in bytes.

    >>> Node("10.0.0.1", {"CPU": 8.0, "GPU": 2.0, "memory": 64e9}).text
    '8 CPU, 2 GPU'
    """

    name: str
    resources: dict[str, float]

    @property
    def text(self) -> str:
        """Its resources, for messages."""
        amounts = {name: amount for name, amount in self.resources.items() if not name.startswith(_INTERNAL)}
        return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items() if name != "memory")


def count_fitting(nodes: Iterable[Node], worker: Mapping[str, float]) -> int:
    """How many workers fit on all machines; a worker is never divided between two.

    Args:
        nodes: the machines.
        worker: the resources of one worker, by Ray's names.

    >>> count_fitting([Node("a", {"CPU": 8.0}), Node("b", {"CPU": 3.0})], {"CPU": 2.0})
    5
    """
    return sum(
        min(
            (math.floor(node.resources.get(name, 0.0) / amount + 1e-9) for name, amount in worker.items()),
            default=0,
        )
        for node in nodes
    )


_INTERNAL = ("node:", "object_store_memory", "accelerator_type:")
