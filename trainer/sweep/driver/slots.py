"""Room for trials on this machine: cores divided between them, GPUs given to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.core.cpu_budget import CORES, usable_cpus
from trainer.core.gpus import visible_gpus
from trainer.schema import Sweep

# What a process with torch and an OpenMMLab package takes before it trains, and a small training on top.
TRIAL_BYTES = 2 * 2**30
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """Room for one trial.

    Attributes:
        cores: its share of them, for data loader processes; None: what its machine gives.
        threads: CPU threads; None leaves it as the environment says.
        gpus: what CUDA_VISIBLE_DEVICES says; None leaves it as it is.
    """

    number: int
    cores: int | None = 1
    threads: int | None = None
    gpus: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        found = {} if self.cores is None else {CORES: str(self.cores)}
        if self.threads is not None:
            found |= dict.fromkeys(_THREADS, str(self.threads))
        return found if self.gpus is None else {**found, "CUDA_VISIBLE_DEVICES": self.gpus}


def make_slots(
    sweep: Sweep, device: str, *, cpus: int | None = None, gpus: Sequence[str] | None = None
) -> list[Slot]:
    """The slots of a sweep on this machine.

    Args:
        device: ``runtime.device``; ``cpu`` leaves the GPUs alone.
        cpus: cores that may be used; None: those of this machine.
        gpus: ids of GPUs that may be used; None: those of this machine.
    """
    cpus = cpus or usable_cpus()
    gpus = visible_gpus() if gpus is None else list(gpus)
    shares = _shares(list(gpus), sweep.gpus_per_trial) if gpus and device != "cpu" else []
    count = int(sweep.workers) if sweep.workers != "auto" else len(shares) or _on_cpu(cpus)
    cores = max(1, cpus // count)
    threads = sweep.threads
    if threads is None and "OMP_NUM_THREADS" not in os.environ and count > 1:
        threads = cores
    return [
        Slot(number, cores, threads, shares[number % len(shares)] if shares else None)
        for number in range(count)
    ]


def _shares(gpus: list[str], each: float) -> list[str]:
    """What each trial sees: half a GPU is a GPU that two see, in turns over the GPUs; 2 is two of them."""
    if each > 1:
        size = min(len(gpus), round(each))
        return [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]
    rounds = max(1, int(1 / each + 1e-9))
    return [gpu for _ in range(rounds) for gpu in gpus]


def _on_cpu(cpus: int) -> int:
    """Small networks gain little from many threads: up to four cores a trial each, then four cores a trial."""
    return max(1, min(cpus if cpus <= 4 else max(4, cpus // 4), _fitting()))


def _fitting() -> int:
    """How many trials the free memory holds; many where the system doesn't tell."""
    with suppress(OSError, ValueError, IndexError, KeyError):
        lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = {name: int(text.split()[0]) * 1024 for name, _, text in lines}["MemAvailable"]
        with suppress(OSError, ValueError):  # a container's own limit
            limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
            free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
        return max(1, free // TRIAL_BYTES)
    return 1024
