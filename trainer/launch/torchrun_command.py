"""torchrun's own command line and variables for a job."""

from __future__ import annotations

import os
import sys

from trainer.core.cpu_budget import CORES, usable_cpus
from trainer.core.gpus import visible_gpus
from trainer.launch.job import Job


def processes(job: Job) -> int:
    """How many processes a training has on this machine; what is no training needs one."""
    if job.command != "train":
        return 1
    if job.options.nproc != "auto":
        return int(job.options.nproc)
    return 1 if job.device == "cpu" else max(1, len(visible_gpus()))


def agent_command(job: Job) -> list[str]:
    """torchrun's command line."""
    options, words = job.options, [f"--nproc-per-node={processes(job)}"]
    if options.nodes == 1:
        words.append("--standalone")
    else:
        words += [
            f"--nnodes={options.nodes}",
            f"--rdzv-backend={options.rdzv_backend}",
            f"--rdzv-endpoint={options.rdzv_endpoint}",
            f"--rdzv-id={options.rdzv_id}",
        ]
        words += [f"--node-rank={options.node_rank}"] if options.node_rank is not None else []
        words += [f"--local-addr={options.local_addr}"] if options.local_addr else []
    words += [f"--max-restarts={options.max_restarts}", "-m", "trainer.launch.job_main", str(job.folder)]
    return [sys.executable, "-m", "trainer.launch.torchrun_agent", *words]


def agent_environment(job: Job) -> dict[str, str]:
    """What torchrun's agent is told by variables: how long saving may take, and each process's share of the cores."""
    share = max(1, usable_cpus() // processes(job))
    found = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(job.options.grace_seconds), CORES: str(share)}
    if job.options.max_restarts:
        # Otherwise processes started again find the addresses of the ones before them, where nobody answers.
        found["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    # torchrun itself gives each of several processes one thread, however many cores there are.
    return found if "OMP_NUM_THREADS" in os.environ else {**found, "OMP_NUM_THREADS": str(share)}
