"""A launcher whose far end runs the cheap training of cheap.py: the sweep's side of launching in fractions of a second.

Beside :class:`ToyLauncher` the program that it starts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.sweep import cheap
from trainer.core.errors import ResourceError
from trainer.launch import file_signals
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes
from trainer.launch.job_store import LaunchedJob
from trainer.launch.local import Local
from trainer.launch.ray_cluster.ray_launcher import RayCluster


class ToyLauncher(Local):
    """Jobs are processes of this machine, as those of ``launcher=local``."""

    def command(self, job: Job) -> list[str]:
        return [sys.executable, "-m", "tests.sweep.toy_launcher", str(job.folder)]

    def submit(self, job: Job) -> LaunchedJob:
        if "TOY_FULL" in os.environ:
            raise ResourceError("the toy cluster takes no more jobs")
        return super().submit(job)


class ToyRay(RayCluster):
    """Jobs of a real Ray cluster that train as cheaply."""

    def request(self, job: Job, id: str) -> dict[str, Any]:
        asked = super().request(job, id)
        return {
            **asked,
            "entrypoint": asked["entrypoint"].replace("trainer.launch.job_main", "tests.sweep.toy_launcher"),
        }


def main(folder: str) -> int:
    job = Job.load(folder)
    os.environ.update(job.environment)
    notes = JobNotes(Path(folder))
    notes.started("local:0")
    file_signals.watch_signals(Path(folder))
    code = 1
    try:
        code = cheap.main(list(job.argv))
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        notes.ended(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
