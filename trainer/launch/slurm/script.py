"""The script for sbatch, written by submitit."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from typing import Any

from trainer.core.errors import ConfigError
from trainer.launch.job import Job
from trainer.schema import SlurmConfig as Options

LOG = "output.log"
# Options of sbatch that have a key of their own here, or that the launcher sets itself (empty).
_OWN_KEYS = {
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


def sbatch_script(job: Job[Options]) -> str:
    """The whole script for sbatch. The job's arguments and variables stay in its folder.

    Raises:
        ConfigError: ``launcher.sbatch`` has an option that another key is for.
    """
    from submitit import SlurmExecutor

    class Anywhere(SlurmExecutor):
        """An executor that writes scripts on machines without SLURM too."""

        @classmethod
        def affinity(cls) -> int:
            """submitit's rank of this executor; SlurmExecutor's looks for srun."""
            return 2

    options = job.options
    executor = Anywhere(job.folder)
    parameters = {
        "job_name": re.sub(r"[^\w.-]+", "-", job.title)[:60],
        "nodes": options.nodes,
        "ntasks_per_node": tasks_per_node(job),
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
        **parameters,
        wckey=None,
        signal_delay_s=options.signal_delay_s,
        stderr_to_stdout=True,
        additional_parameters={**_fixed(job), **_extra_options(options.sbatch)},
        setup=list(options.setup) or None,
        use_srun=False,  # submitit's srun line writes each process's output to a file of its own
        teardown=_epilogue(job),
    )
    text: str = executor._make_submission_file_text(_srun_line(job), uid=job.id)
    return text


def tasks_per_node(job: Job[Options]) -> int:
    """How many processes a training has on each node."""
    nproc = job.options.nproc
    return (job.options.gpus or 1) if nproc == "auto" else max(int(nproc), 1)


def _fixed(job: Job[Options]) -> dict[str, Any]:
    log = str(job.folder / LOG)
    return {
        "chdir": str(job.cwd),
        "output": log.replace("\\", "\\\\").replace("%", "%%"),
        "open-mode": "append",
        "requeue": True,
    }


def _extra_options(sbatch: dict[str, Any]) -> dict[str, Any]:
    """``launcher.sbatch`` without options that are false or null."""
    options: dict[str, Any] = {}
    for key, value in sbatch.items():
        name = str(key).lstrip("-").replace("_", "-")
        if name in _OWN_KEYS:
            hint = f"use {_OWN_KEYS[name]}" if _OWN_KEYS[name] else "the launcher sets it itself"
            raise ConfigError(f"launcher.sbatch.{key}: {hint}.")
        if value is not None and value is not False:
            options[name] = value
    return options


def _srun_line(job: Job[Options]) -> str:
    srun = ["srun", "--unbuffered", "--kill-on-bad-exit=1"]
    if job.options.cpus_per_task:  # srun doesn't take it from sbatch
        srun.append(f"--cpus-per-task={job.options.cpus_per_task}")
    program = f"{_python(job)} -u -m trainer.launch.slurm.rank_main {_folder(job)}"
    return f"{shlex.join([*srun, *job.options.srun])} {program}"


def _epilogue(job: Job[Options]) -> list[str]:
    return [
        "code=$?",
        f"{_python(job)} -m trainer.launch.slurm.job_epilogue {_folder(job)} $code",
        "exit $code",
    ]


def _python(job: Job[Options]) -> str:
    return job.options.interpreter or shlex.quote(sys.executable)


def _folder(job: Job[Options]) -> str:
    return shlex.quote(os.fspath(job.folder))
