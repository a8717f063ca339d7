"""Processors that this process may really use."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

# How many of the cores this process should take for its own, when others run beside it: set for a sweep's trials.
CORES = "TRAINER_CORES"


def usable_cpus() -> int:
    """CPUs by affinity, by the container's quota and by ``TRAINER_CORES``, shared with the other processes of a
    training on this machine; torch's own default counts the whole machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no such file, or "max": no quota
    if os.environ.get(CORES, "").isdigit():
        count = min(count, int(os.environ[CORES]))
    # torchrun sets OMP_NUM_THREADS=1 itself; not everybody who starts several processes does
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, count // max(1, int(beside)) if beside.isdigit() else count)


def set_threads() -> None:
    """Let torch compute with the usable CPUs, unless OMP_NUM_THREADS says how many."""
    settle_openmp()
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())


def settle_openmp() -> None:
    """Choose whether OpenMP's idle threads spin or sleep; read once, when torch loads its OpenMP.

    Spinning is the faster way on a machine of one's own and ruinous on a shared one, where each spins away the
    other's turn: RTMDet-tiny at 96 px on two cores took 0.21 s an iteration spinning and 0.38 s sleeping while
    nothing else ran, and 1 to 22 s against 0.4 to 1.4 s beside other processes.
    """
    if "torch" in sys.modules or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        return
    shared = busy_others(0.2) > 0.3
    os.environ["GOMP_SPINCOUNT"] = "0" if shared else "300000"


def busy_others(seconds: float) -> float:
    """CPUs that other processes keep busy, looked at for ``seconds``; 0 where the system doesn't tell."""
    before = _busy_seconds()
    if before is None:
        return 0.0
    own, start = time.process_time(), time.monotonic()
    time.sleep(seconds)
    after = _busy_seconds() or before
    return max(0.0, after - before - (time.process_time() - own)) / (time.monotonic() - start)


def _busy_seconds() -> float | None:
    try:
        user, nice, system = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4]
        return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
