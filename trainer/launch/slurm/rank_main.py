"""``srun python -m trainer.launch.slurm.rank_main <folder>``: one process of a job of SLURM's.

Says who it is among those that train together, and what SLURM's signals mean.
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
from trainer.launch import LAUNCHED

AGAIN = "again.json"  # beside job.json: the job's time was over, and it wants to go on
_POLL = 0.1
_MEETING_SECONDS = 600.0
# A process that fails is the end of the others, at once; until then they may say why and end by themselves.
_LAST_WORDS_SECONDS = 10.0


def main(folder: str) -> int:
    """Run one process of the job. Returns its exit code."""
    from trainer.launch import job_main
    from trainer.launch.job_status import CANCELLED

    os.environ[LAUNCHED] = f"slurm:{os.environ['SLURM_JOB_ID']}"
    if cores := os.environ.get("SLURM_CPUS_ON_NODE"):  # the job's; not every cluster holds it to them
        os.environ["TRAINER_CORES"] = cores
    place, size = Path(folder), int(os.environ.get("SLURM_NTASKS", "1"))
    signal.signal(signal.SIGUSR2, Again(place))
    try:
        if size > 1:
            os.environ.update(meet(place, os.environ))
            if (rank := os.environ["RANK"]) != "0":
                job_main.say_into(place / f"rank-{rank}.log")
    except ResourceError as error:
        print(f"{error.kind}: {error.message}", file=sys.stderr)
        return 1
    code = job_main.main(folder)
    if size > 1 and code not in (0, *CANCELLED):
        sys.stdout.flush()
        time.sleep(_LAST_WORDS_SECONDS)
    elif os.environ.get("RANK", "0") != "0":
        return 0  # the first one may still be saving; the job's exit code is its
    return code


def attempt(environment: Mapping[str, str]) -> str:
    """A name for this start of this job."""
    return f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_RESTART_COUNT', '0')}"


def meet(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Who this process is among those of the job, and where they meet, as torch wants to have it.

    The first one finds a port that is free on its machine, and says so in the job's folder.

    Raises:
        ResourceError: the first one hasn't said where.
    """
    rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
    place = folder / f"meet.{attempt(environment)}.json"
    if rank == 0:
        for old in folder.glob("meet.*.json"):
            old.unlink(missing_ok=True)
        atomic_write(place, json.dumps({"address": _address(environment), "port": _free_port()}) + "\n")
    found = _said(place)
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(size // int(environment.get("SLURM_JOB_NUM_NODES", "1"))),
        "MASTER_ADDR": str(found["address"]),
        "MASTER_PORT": str(found["port"]),
    }


class Again:
    """SLURM says that the job's time is nearly over, or that another job takes its place: save, and go on later.

    To the trainer it is a SIGTERM; what happens then is :mod:`trainer.launch.slurm.job_epilogue`'s.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data loader's worker, which goes on until its training process is through
        if os.environ.get("SLURM_PROCID", "0") == "0":
            with suppress(OSError):
                atomic_write(self._folder / AGAIN, json.dumps({"attempt": attempt(os.environ)}) + "\n")
        os.kill(os.getpid(), signal.SIGTERM)


def _said(place: Path) -> dict[str, Any]:
    until = time.monotonic() + _MEETING_SECONDS
    while time.monotonic() < until:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(place.read_bytes())
            return found
        time.sleep(_POLL)
    raise ResourceError(
        f"the first process of this job hasn't said where to meet in {place.parent} for {_MEETING_SECONDS:.0f} s; "
        "output_dir has to be a folder that all nodes share"
    )


def _address(environment: Mapping[str, str]) -> str:
    """A name or number of this machine that the job's other machines know."""
    if environment.get("SLURM_JOB_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    for name in (environment.get("SLURMD_NODENAME"), socket.gethostname()):
        with suppress(OSError):
            if name and socket.getaddrinfo(name, None):
                return name
    return environment.get("SLURM_LAUNCH_NODE_IPADDR", socket.gethostname())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
