"""``launcher=torchrun``: one process a GPU, on this machine or on several that train together."""

from __future__ import annotations

import os
import shlex
import sys

from trainer.core.processes import started_at
from trainer.launch import torchrun_supervisor
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_store import record_job
from trainer.launch.launcher import prepare_submission
from trainer.launch.local import Local
from trainer.launch.torchrun_command import agent_command, agent_environment
from trainer.launch.variables import LAUNCHED
from trainer.schema import TorchrunConfig as Options


class Torchrun(Local[Options]):
    """Jobs are torchrun's processes on this machine; a handle is ``local:<pid>`` of their supervisor."""

    requires = ("torch", "")

    @classmethod
    def shared_run_name(cls, options: Options) -> str | None:
        """``launcher.rdzv_id``, where each of several machines has its own command."""
        return options.rdzv_id if options.nodes > 1 else None

    def plan(self, job: Job[Options]) -> DryRun:
        """The command line of torchrun's agent."""
        variables = " ".join(f"{name}={value}" for name, value in agent_environment(job).items())
        text = f"cd {shlex.quote(str(job.cwd))}\n{variables} {shlex.join(agent_command(job))}"
        title = f"torchrun's agent, supervised by {shlex.join(self.command(job))}"
        return DryRun.of(job, [DryRunPart(title, text)])

    def command(self, job: Job[Options]) -> list[str]:
        """The command line of the supervisor."""
        return [sys.executable, "-m", "trainer.launch.torchrun_supervisor", str(job.folder)]

    def run(self, job: Job[Options]) -> int:
        """Supervise in this very process, with the first process's table on its terminal."""
        prepare_submission(job)
        handle = Handle(self.scheme, str(os.getpid()))
        record_job(job, handle, started=started_at(os.getpid()))
        os.environ[LAUNCHED] = str(handle)
        return torchrun_supervisor.main(str(job.folder))
