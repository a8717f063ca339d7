"""The script that sbatch gets, as submitit writes it."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from typing import Any

from trainer.core.errors import ConfigError
from trainer.launch.job import Job

LOG = "output.log"
# Options of sbatch that are keys of their own here, or that the launcher needs as they are.
_OURS = {
    "nodes": "launcher.nodes",
    "ntasks": "launcher.nproc",
    "ntasks-per-node": "launcher.nproc",
    "gpus-per-node": "launcher.gpus",
    "cpus-per-task": "launcher.cpus_per_task",
    "mem": "launcher.memory_gb",
    "time": "launcher.time_minutes",
    "signal": "launcher.signal_delay_s",
    "partition": "launcher.partition",
    "account": "launcher.account",
    "qos": "launcher.qos",
    "constraint": "launcher.constraint",
    "nodelist": "launcher.nodelist",
    "exclude": "launcher.exclude",
    **dict.fromkeys(("output", "error", "open-mode", "chdir", "array", "wrap", "job-name"), ""),
}


def script(job: Job) -> str:
    """All that sbatch gets. What the job is about is in its folder: neither words nor variables are in here.

    Raises:
        ConfigError: ``launcher.sbatch`` has what another key is for.
    """
    from submitit import SlurmExecutor

    class Anywhere(SlurmExecutor):
        """Writes scripts on machines without SLURM too."""

        @classmethod
        def affinity(cls) -> int:
            return 2

    options = job.options
    executor = Anywhere(job.folder)
    asked = {
        "job_name": re.sub(r"[^\w.-]+", "-", job.title)[:60],
        "nodes": options.nodes,
        "ntasks_per_node": processes(job),
        "gpus_per_node": options.gpus,
        "cpus_per_task": options.cpus_per_task,
        "mem": None if options.memory_gb is None else f"{math.ceil(options.memory_gb * 1024)}MB",
        "time": None if options.time_minutes is None else math.ceil(options.time_minutes),
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "nodelist": options.nodelist,
        "exclude": options.exclude,
    }
    executor.update_parameters(
        **asked,
        wckey=None,
        signal_delay_s=options.signal_delay_s,
        stderr_to_stdout=True,
        additional_parameters={**_fixed(job), **_further(options.sbatch)},
        setup=list(options.setup) or None,
        use_srun=False,  # its own line of it sends each process's words to a file of their own
        teardown=_after(job),
    )
    text: str = executor._make_submission_file_text(_start(job), uid=job.id)
    return text


def processes(job: Job) -> int:
    """Processes on each node."""
    nproc = job.options.nproc
    return (job.options.gpus or 1) if nproc == "auto" else max(int(nproc), 1)


def _fixed(job: Job) -> dict[str, Any]:
    log = str(job.folder / LOG)
    return {
        "chdir": str(job.cwd),
        "output": log.replace("\\", "\\\\").replace("%", "%%"),
        "open-mode": "append",
        "requeue": True,
    }


def _further(given: dict[str, Any]) -> dict[str, Any]:
    """``launcher.sbatch``; what is false or null is left out."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).lstrip("-").replace("_", "-")
        if name in _OURS:
            hint = f"say {_OURS[name]}" if _OURS[name] else "the launcher needs it for itself"
            raise ConfigError(f"launcher.sbatch.{key}: {hint}.")
        if value is not None and value is not False:
            found[name] = value
    return found


def _start(job: Job) -> str:
    words = ["srun", "--unbuffered", "--kill-on-bad-exit=1"]
    if job.options.cpus_per_task:  # which srun doesn't take over by itself
        words.append(f"--cpus-per-task={job.options.cpus_per_task}")
    return f"{shlex.join([*words, *job.options.srun])} {_python(job)} -u -m trainer.launch.slurm.rank_main {_folder(job)}"


def _after(job: Job) -> list[str]:
    return [
        "code=$?",
        f"{_python(job)} -m trainer.launch.slurm.job_epilogue {_folder(job)} $code",
        "exit $code",
    ]


def _python(job: Job) -> str:
    return job.options.interpreter or shlex.quote(sys.executable)


def _folder(job: Job) -> str:
    return shlex.quote(os.fspath(job.folder))
