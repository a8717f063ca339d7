"""``launcher=slurm``: a job of a SLURM cluster, handed over with sbatch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, ResourceError, TrainerError, did_you_mean
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import Launcher, prepared
from trainer.launch.local import background_environment, lines
from trainer.launch.slurm.cli import About, about, ask, partitions
from trainer.launch.slurm.script import LOG, processes, script

FILE = "sbatch.sh"


class Slurm(Launcher):
    """``slurm:<job>``. The job's folder has to be one that all nodes share."""

    scheme = "slurm"
    poll = 2.0

    def plan(self, job: Job) -> DryRun:
        return DryRun.of(job, [DryRunPart(f"sbatch --parsable {job.folder / FILE}", script(job))])

    def submit(self, job: Job) -> LaunchedJob:
        text, new = script(job), not job.folder.exists()
        prepared(job)
        try:
            path = atomic_write(job.folder / FILE, text)
            said = ask("sbatch", "--parsable", str(path), environment=_environment(job))
        except TrainerError as error:
            if new:  # nobody needs what it holds
                shutil.rmtree(job.folder, ignore_errors=True)
            raise _refused(error, job) from None
        # the number, and the cluster's name where there are several
        return record_job(job, Handle(self.scheme, said.strip().partition(";")[0]))

    def status(self, launched: LaunchedJob) -> JobStatus:
        known = about(launched.handle.name)
        noted = JobNotes(launched.folder).status(known is not None and known.runs, launched.run_dir)
        if known is None:
            return noted
        noted = replace(noted, nodes=known.nodes or noted.nodes)
        if known.waits:
            return replace(noted, state="queued", reason=waiting(known), since=known.since)
        if known.runs:
            return replace(noted, state="running", since=known.since)
        return _ended(noted, known, launched)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        path = launched.folder / LOG
        while not path.exists():
            if not follow or self.status(launched).ended:
                return
            time.sleep(self.poll)
        yield from lines(path, lambda: follow and not self.status(launched).ended, self.poll)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        job = launched.handle.name
        if (known := about(job)) is None or not (known.waits or known.runs):
            return
        JobNotes(launched.folder).cancel()
        with suppress(ResourceError):  # it may have ended meanwhile
            if known.waits:
                ask("scancel", job)
            elif now:
                ask("scancel", "--signal=KILL", "--full", job)
                ask("scancel", job)
            else:
                # To the processes alone, with no end to their saving; the script then ends by itself.
                ask("scancel", "--signal=TERM", job)


def waiting(known: About) -> str:
    """Why a job waits, with what SLURM's word means where that is hard to guess."""
    word = known.reason or known.state.lower()
    meaning = _MEANINGS.get(word.split(",")[0].replace(" ", ""))
    return f"waiting: {word} ({meaning})" if meaning else f"waiting: {word}"


def _ended(noted: JobStatus, known: About, launched: LaunchedJob) -> JobStatus:
    """What the job said last, unless SLURM knows better: it was killed, or another of its processes failed."""
    cancelled = JobNotes(launched.folder).cancelled
    if noted.exit_code is not None and noted.state not in ("finished", "cancelled"):
        return noted
    if known.state == "COMPLETED":
        return replace(noted, state="finished", exit_code=0, reason=None, since=noted.since or known.since)
    if known.state == "CANCELLED" or cancelled:
        code = noted.exit_code if noted.exit_code in CANCELLED else CANCELLED[1]
        return replace(noted, state="cancelled", exit_code=code, reason=None, since=known.since)
    if noted.state == "cancelled" and known.state != "TIMEOUT":
        return noted
    options, code = launched.job.options, known.exit_code or 1
    reason = _ENDS.get(known.state, "").format(minutes=options.time_minutes, delay=options.signal_delay_s)
    reason = reason or _other_process(launched) or f"SLURM: {known.state.lower().replace('_', ' ')}"
    return replace(noted, state="failed", exit_code=code, reason=reason, since=known.since)


def _other_process(launched: LaunchedJob) -> str | None:
    """What a process said that isn't the first one."""
    options = launched.job.options
    for rank in range(1, options.nodes * processes(launched.job)):
        if error := JobNotes(launched.folder, rank).why():
            return f"process {rank}: {error['kind']}: {error['message']}"
    return None


def _refused(error: TrainerError, job: Job) -> TrainerError:
    """sbatch's refusal, with the key that it is about."""
    options = job.options
    for words, key, value in (
        ("invalid partition", "partition", options.partition),
        ("invalid account", "account", options.account),
        ("invalid qos", "qos", options.qos),
        ("invalid feature", "constraint", options.constraint),
        ("invalid generic resource", "gpus", options.gpus),
        ("invalid node name", "nodelist", options.nodelist or options.exclude),
    ):
        if words in error.message.lower() and value is not None:
            known = partitions() if key == "partition" else []
            hint = did_you_mean(str(value), known) or (f" There are {', '.join(known)}." if known else "")
            return ConfigError(f"launcher.{key}={value}: {error.message}.{hint}")
    return error


def _environment(job: Job) -> dict[str, str]:
    """What sbatch may hand on, which is what there is here: without what travels in the job's file, and without
    what an allocation or a launcher says about this very process."""
    found = background_environment({})
    hidden = set(job.environment) - {"PYTHONPATH"} | _OF_THIS_PROCESS
    keep = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
    return {
        name: value
        for name, value in found.items()
        if name not in hidden and (name in keep or not name.startswith(("SLURM_", "PMI_", "PMIX_")))
    }


_OF_THIS_PROCESS = {
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TRAINER_LAUNCHED", "TRAINER_FAILURE", "TRAINER_CORES", "SUBMITIT_EXECUTOR"),
}
_MEANINGS = {
    "Priority": "others come first",
    "BeginTime": "not before a certain time; SLURM lets a job that was put back rest for a while",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "PartitionConfig": "it asks for more than the partition gives",
    "launchfailedrequeuedheld": "it couldn't be started and is held; scontrol release starts it",
}
_ENDS = {
    "TIMEOUT": "its time was over before it had saved (launcher.time_minutes={minutes}, "
    "launcher.signal_delay_s={delay}); resume goes on from its last checkpoint",
    "OUT_OF_MEMORY": "it took more memory than it asked for; launcher.memory_gb gives it more",
    "NODE_FAIL": "its node failed",
    "DEADLINE": "its deadline was over",
    "PREEMPTED": "another job took its place; resume goes on with it",
}
