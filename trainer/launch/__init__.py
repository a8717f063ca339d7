"""Start a command elsewhere: detached on this machine, or through torchrun, SLURM, Ray, Kubernetes or a plug-in.

Every launcher has the same verbs and gives a handle for its job. The command line travels in a file
(:mod:`trainer.launch.job`), and every launcher runs :mod:`trainer.launch.job_main` with that file.

A launcher of your own is a subclass of :class:`Launcher` and a line in the entry-point group ``trainer.launchers``;
docs/launch.md has an example.
"""

from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import Launcher
from trainer.launch.variables import LAUNCHED, SEVERAL

__all__ = [
    "LAUNCHED",
    "SEVERAL",
    "DryRun",
    "DryRunPart",
    "Handle",
    "Job",
    "JobNotes",
    "JobStatus",
    "LaunchedJob",
    "Launcher",
    "record_job",
]
