"""One process a GPU through torchrun, on this machine or on several that meet."""

from __future__ import annotations

import os
import shlex
import sys

from trainer.core.processes import started_at
from trainer.launch import LAUNCHED, torchrun_supervisor
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_store import record_job
from trainer.launch.launcher import prepared
from trainer.launch.local import Local
from trainer.launch.torchrun_command import agent_command, agent_environment


class Torchrun(Local):
    """``local:<pid>``, the process that keeps torchrun's on this machine."""

    def plan(self, job: Job) -> DryRun:
        variables = " ".join(f"{name}={value}" for name, value in agent_environment(job).items())
        where = f"cd {shlex.quote(str(job.cwd))}"
        text = f"{where}\n{variables} {shlex.join(agent_command(job))}"
        return DryRun.of(
            job, [DryRunPart("torchrun's agent, kept by " + shlex.join(self.command(job)), text)]
        )

    def command(self, job: Job) -> list[str]:
        return [sys.executable, "-m", "trainer.launch.torchrun_supervisor", str(job.folder)]

    def run(self, job: Job) -> int:
        """In this very process, with the first process's table on its terminal."""
        prepared(job)
        handle = Handle(self.scheme, str(os.getpid()))
        record_job(job, handle, started=started_at(os.getpid()))
        os.environ[LAUNCHED] = str(handle)
        return torchrun_supervisor.main(str(job.folder))
