"""What Ray's job server is asked for: the command, its resources, and the workers of a training."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Any

from trainer.core.errors import ConfigError
from trainer.launch.job import Job
from trainer.launch.local import background_environment
from trainer.launch.variables import LAUNCHED
from trainer.schema import RayConfig as Options

# Keys of Ray's runtime environment that copy files to the machines. Here the machines share the files, so that the run
# can be read from this machine.
_COPYING_KEYS = ("working_dir", "py_modules")


def job_request(job: Job[Options], id: str) -> dict[str, Any]:
    """The arguments of Ray's ``submit_job``, except for the id. They hold no argument and no variable of the job.

    Args:
        job: the job.
        id: the id that it gets in the cluster.

    Raises:
        ConfigError: ``launcher.runtime_env`` would copy the working folder.
    """
    options = job.options
    if copying := [key for key in _COPYING_KEYS if key in options.runtime_env]:
        raise ConfigError(
            f"launcher.runtime_env.{copying[0]}: Ray would run a copy; the cluster's machines share the working "
            "folder and output_dir instead (docs/launch-ray.md)."
        )
    has_driver = needs_driver(options)
    cores = {} if has_driver else {"TRAINER_CORES": str(max(1, math.floor(options.num_cpus)))}
    variables = {
        **_pythonpath(),
        **cores,
        LAUNCHED: f"ray:{id}",
        "RAY_JOB_STOP_WAIT_TIME_S": str(options.stop_seconds),
        **{str(name): str(value) for name, value in options.runtime_env.get("env_vars", {}).items()},
    }
    module = "trainer.launch.ray_cluster.training_ranks" if has_driver else "trainer.launch.job_main"
    return {
        "entrypoint": _shell_command(job, id, module),
        "runtime_env": {**options.runtime_env, "env_vars": variables},
        "metadata": {"title": job.title},
        **({} if has_driver else _entrypoint_resources(worker_resources(options))),
    }


def workers_per_node(options: Options) -> int:
    """How many workers a training has on each node."""
    return 1 if options.nproc == "auto" else int(options.nproc)


def needs_driver(options: Options) -> bool:
    """Whether the job is a driver that starts the workers: for several of them, and to restart those that fail."""
    return workers_per_node(options) * options.nodes > 1 or options.max_restarts > 0


def worker_resources(options: Options) -> dict[str, float]:
    """What each worker holds, by Ray's names; ``memory`` in bytes."""
    resources = {"CPU": options.num_cpus, "GPU": options.num_gpus}
    if options.memory_gb:
        resources["memory"] = options.memory_gb * 1e9
    resources |= {str(name): float(amount) for name, amount in options.resources.items()}
    return {name: amount for name, amount in resources.items() if amount}


def placement_group_spec(options: Options) -> dict[str, Any]:
    """The ``bundles`` and the ``strategy`` of the placement group for a training of several workers."""
    strategy = options.placement
    if strategy == "auto":
        strategy = "PACK" if options.nodes == 1 else "SPREAD"
    bundles = [worker_resources(options)] * (workers_per_node(options) * options.nodes)
    return {"bundles": bundles, "strategy": strategy}


def cancel_mark(folder: Path, id: str) -> Path:
    """A file that keeps a job from starting, since Ray can't stop a job that waits for resources."""
    return folder / f"withdrawn.{id}"


def _entrypoint_resources(resources: dict[str, float]) -> dict[str, Any]:
    custom = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU", "memory")}
    return {
        "entrypoint_num_cpus": resources["CPU"],
        **({"entrypoint_num_gpus": resources["GPU"]} if "GPU" in resources else {}),
        **({"entrypoint_memory": int(resources["memory"])} if "memory" in resources else {}),
        **({"entrypoint_resources": custom} if custom else {}),
    }


def _shell_command(job: Job[Options], id: str, module: str) -> str:
    """A shell line that runs a module, and says so if the machine sees no job folder or has no Python."""
    python = shlex.quote(job.options.remote_python or sys.executable)
    folder, cwd = shlex.quote(str(job.folder)), shlex.quote(str(job.cwd))
    no_folder = shlex.quote(
        f"ResourceError: this machine doesn't see {job.folder}: the machines of a Ray cluster share the working folder "
        "and output_dir"
    )
    no_python = shlex.quote(
        f"ResourceError: this machine has no {python}: launcher.remote_python names the cluster's Python"
    )
    return (
        f"test -r {folder}/job.json && cd {cwd} || {{ echo {no_folder}; exit 1; }}; "
        f"test -e {shlex.quote(str(cancel_mark(job.folder, id)))} && exit 143; "
        f"command -v {python} >/dev/null || {{ echo {no_python}; exit 1; }}; "
        f"exec {python} -m {module} {folder}"
    )


def _pythonpath() -> dict[str, str]:
    """Where a checkout of this trainer is, for a Python that doesn't have it installed."""
    path = background_environment({}).get("PYTHONPATH")
    return {"PYTHONPATH": path} if path else {}
