"""``srun python -m trainer.launch.slurm.rank_main <folder>``: one process of a SLURM job.

Finds out its rank and where the processes meet, and translates SLURM's signals.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ResourceError
from trainer.launch.variables import LAUNCHED

REQUEUE_FILE = "again.json"  # beside job.json: the attempt whose time was over
_POLL_SECONDS = 0.1
_RENDEZVOUS_SECONDS = 600.0
# srun kills all processes as soon as one fails; the delay lets the others report why they end.
_LAST_WORDS_SECONDS = 10.0


def main(folder: str) -> int:
    """Run one process of the job. Returns its exit code."""
    from trainer.launch import job_main
    from trainer.launch.job_status import CANCELLED

    os.environ[LAUNCHED] = f"slurm:{os.environ['SLURM_JOB_ID']}"
    if cores := os.environ.get("SLURM_CPUS_ON_NODE"):  # the job's; not every cluster confines the job to them
        os.environ["TRAINER_CORES"] = cores
    job_folder, size = Path(folder), int(os.environ.get("SLURM_NTASKS", "1"))
    signal.signal(signal.SIGUSR2, RequeueSignal(job_folder))
    try:
        if size > 1:
            os.environ.update(rendezvous(job_folder, os.environ))
            if (rank := os.environ["RANK"]) != "0":
                job_main.redirect_output(job_folder / f"rank-{rank}.log")
    except ResourceError as error:
        print(f"{error.kind}: {error.message}", file=sys.stderr)
        return 1
    code = job_main.main(folder)
    if size > 1 and code not in (0, *CANCELLED):
        sys.stdout.flush()
        time.sleep(_LAST_WORDS_SECONDS)
    elif os.environ.get("RANK", "0") != "0":
        return 0  # the first process may still be saving; the job's exit code is that one's
    return code


def attempt_name(environment: Mapping[str, str]) -> str:
    """A name for this start of this job."""
    return f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_RESTART_COUNT', '0')}"


def rendezvous(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with which torch's processes find each other.

    The first process picks a free port on its machine and writes it into the job's folder.

    Args:
        folder: the job's folder, which all nodes share.
        environment: SLURM's variables.

    Raises:
        ResourceError: the first process hasn't written where to meet.
    """
    rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
    path = folder / f"meet.{attempt_name(environment)}.json"
    if rank == 0:
        for old in folder.glob("meet.*.json"):
            old.unlink(missing_ok=True)
        atomic_write(path, json.dumps({"address": _address(environment), "port": _free_port()}) + "\n")
    endpoint = _wait_for_endpoint(path)
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(size // int(environment.get("SLURM_JOB_NUM_NODES", "1"))),
        "MASTER_ADDR": str(endpoint["address"]),
        "MASTER_PORT": str(endpoint["port"]),
    }


class RequeueSignal:
    """Handler of SIGUSR2: the job's time is nearly over, or another job takes its place. Save, and continue later.

    The trainer gets SIGTERM; afterwards :mod:`trainer.launch.slurm.job_epilogue` puts the job back into the queue.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Record that the time of this attempt is over, and stop the trainer."""
        if os.getpid() != self._process:
            return  # a data loader process, which works on until its training process has ended
        if os.environ.get("SLURM_PROCID", "0") == "0":
            with suppress(OSError):
                content = json.dumps({"attempt": attempt_name(os.environ)}) + "\n"
                atomic_write(self._folder / REQUEUE_FILE, content)
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_endpoint(path: Path) -> dict[str, Any]:
    until = time.monotonic() + _RENDEZVOUS_SECONDS
    while time.monotonic() < until:
        with suppress(OSError, ValueError):
            endpoint: dict[str, Any] = json.loads(path.read_bytes())
            return endpoint
        time.sleep(_POLL_SECONDS)
    raise ResourceError(
        f"the first process of this job hasn't written where to meet into {path.parent} for "
        f"{_RENDEZVOUS_SECONDS:.0f} s; output_dir has to be a folder that all nodes share"
    )


def _address(environment: Mapping[str, str]) -> str:
    """A name or address of this machine that the job's other machines know."""
    if environment.get("SLURM_JOB_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    for name in (environment.get("SLURMD_NODENAME"), socket.gethostname()):
        with suppress(OSError):
            if name and socket.getaddrinfo(name, None):
                return name
    return environment.get("SLURM_LAUNCH_NODE_IPADDR", socket.gethostname())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
