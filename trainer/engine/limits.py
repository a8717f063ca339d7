"""Processors that this process may really use, and loaders cut short for debugging."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def usable_cpus() -> int:
    """CPUs by affinity and by the container's quota; torch's own default counts the whole machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no such file, or "max": no quota
    return max(1, count)


def set_threads() -> None:
    """Let torch compute with the usable CPUs, unless OMP_NUM_THREADS says how many."""
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        # Read once, when torch loads its OpenMP. By default its idle threads spin for milliseconds, and where
        # anything else wants the CPU (loader processes, the tracker, another run) each spins away the
        # other's turn: on two busy cores an iteration of RTMDet-tiny took 7 to 22 s, and 0.5 to 1.4 s
        # without the spinning.
        os.environ["GOMP_SPINCOUNT"] = "0"
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())


class ShortLoader:
    """The first ``batches`` batches an epoch of a data loader; everything else is the loader's."""

    def __init__(self, loader: Any, batches: int) -> None:
        vars(self).update(_loader=loader, _batches=batches)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._loader), self._batches)

    def __len__(self) -> int:
        return min(len(self._loader), self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(
            self._loader, name, value
        )  # hooks that switch pipelines restart the loader's workers this way
