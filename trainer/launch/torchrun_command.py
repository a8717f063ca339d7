"""torchrun's command line and variables for a job."""

from __future__ import annotations

import os
import sys

from trainer.core.cpu_budget import CORES, usable_cpus
from trainer.core.gpus import visible_gpus
from trainer.launch.job import Job
from trainer.schema import TorchrunConfig as Options


def process_count(job: Job[Options]) -> int:
    """How many processes a job has on this machine; a command that trains nothing has one."""
    if job.command != "train":
        return 1
    if job.options.nproc != "auto":
        return int(job.options.nproc)
    return 1 if job.device == "cpu" else max(1, len(visible_gpus()))


def agent_command(job: Job[Options]) -> list[str]:
    """The command line of torchrun's agent."""
    options, argv = job.options, [f"--nproc-per-node={process_count(job)}"]
    if options.nodes == 1:
        argv.append("--standalone")
    else:
        argv += [
            f"--nnodes={options.nodes}",
            f"--rdzv-backend={options.rdzv_backend}",
            f"--rdzv-endpoint={options.rdzv_endpoint}",
            f"--rdzv-id={options.rdzv_id}",
        ]
        argv += [f"--node-rank={options.node_rank}"] if options.node_rank is not None else []
        argv += [f"--local-addr={options.local_addr}"] if options.local_addr else []
    argv += [f"--max-restarts={options.max_restarts}", "-m", "trainer.launch.job_main", str(job.folder)]
    return [sys.executable, "-m", "trainer.launch.torchrun_agent", *argv]


def agent_environment(job: Job[Options]) -> dict[str, str]:
    """The agent's variables: the time that saving may take, and each process's share of the cores."""
    share = max(1, usable_cpus() // process_count(job))
    variables = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(job.options.grace_seconds), CORES: str(share)}
    if job.options.max_restarts:
        # With a shared store, restarted processes read the addresses of those before them, where nobody answers.
        variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    # By default torchrun gives each of several processes one thread, however many cores there are.
    return variables if "OMP_NUM_THREADS" in os.environ else {**variables, "OMP_NUM_THREADS": str(share)}
