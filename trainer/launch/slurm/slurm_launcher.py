"""``launcher=slurm``: a job of a SLURM cluster, submitted with sbatch."""

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
from trainer.launch.launcher import Launcher, prepare_submission
from trainer.launch.local import background_environment, follow_lines
from trainer.launch.slurm.cli import JobInfo, job_info, partitions, run_command
from trainer.launch.slurm.script import LOG, sbatch_script, tasks_per_node
from trainer.schema import SlurmConfig as Options

FILE = "sbatch.sh"


class Slurm(Launcher[Options]):
    """Jobs of a SLURM cluster; a handle is ``slurm:<job>``. All nodes share the job's folder."""

    requires = ("submitit", "slurm")
    scheme = "slurm"
    handle_form = "<job>"
    handle_pattern = r"\d+(_\d+)?"
    poll = 2.0

    def plan(self, job: Job[Options]) -> DryRun:
        """The script that sbatch gets."""
        return DryRun.of(job, [DryRunPart(f"sbatch --parsable {job.folder / FILE}", sbatch_script(job))])

    def submit(self, job: Job[Options]) -> LaunchedJob:
        """Write the script and give it to sbatch."""
        script, is_new = sbatch_script(job), not job.folder.exists()
        prepare_submission(job)
        try:
            path = atomic_write(job.folder / FILE, script)
            output = run_command("sbatch", "--parsable", str(path), environment=_environment(job))
        except TrainerError as error:
            if is_new:  # nobody needs its content
                shutil.rmtree(job.folder, ignore_errors=True)
            raise _explain_refusal(error, job) from None
        # The output is the job's number, followed by the cluster's name where there are several.
        return record_job(job, Handle(self.scheme, output.strip().partition(";")[0]))

    def status(self, launched: LaunchedJob) -> JobStatus:
        """SLURM's state of the job, and the job's own report for how it ended."""
        info = job_info(launched.handle.name)
        reported = JobNotes(launched.folder).status(info is not None and info.is_running, launched.run_dir)
        if info is None:
            return reported
        reported = replace(reported, nodes=info.nodes or reported.nodes)
        if info.is_waiting:
            return replace(reported, state="queued", reason=explain_waiting(info), since=info.since)
        if info.is_running:
            return replace(reported, state="running", since=info.since)
        return _ended_status(reported, info, launched)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """The output of the job's script, which SLURM writes into the job's folder."""
        path = launched.folder / LOG
        while not path.exists():
            if not follow or self.status(launched).ended:
                return
            time.sleep(self.poll)
        yield from follow_lines(path, lambda: follow and not self.status(launched).ended, self.poll)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Send the job's processes SIGTERM, or SIGKILL, with scancel."""
        job = launched.handle.name
        if (info := job_info(job)) is None or not (info.is_waiting or info.is_running):
            return
        JobNotes(launched.folder).cancel()
        with suppress(ResourceError):  # it may have ended meanwhile
            if info.is_waiting:
                run_command("scancel", job)
            elif now:
                run_command("scancel", "--signal=KILL", "--full", job)
                run_command("scancel", job)
            else:
                # To the processes alone and without a time limit for saving; the script then ends by itself.
                run_command("scancel", "--signal=TERM", job)


def explain_waiting(info: JobInfo) -> str:
    """Why a job waits: SLURM's reason, with its meaning where that is hard to guess."""
    reason = info.reason or info.state.lower()
    meaning = _MEANINGS.get(reason.split(",")[0].replace(" ", ""))
    return f"waiting: {reason} ({meaning})" if meaning else f"waiting: {reason}"


def _ended_status(reported: JobStatus, info: JobInfo, launched: LaunchedJob) -> JobStatus:
    """How a job ended: by its own report, unless SLURM knows of a kill or of another process's failure."""
    cancelled = JobNotes(launched.folder).cancelled
    if reported.exit_code is not None and reported.state not in ("finished", "cancelled"):
        return reported
    since = info.since
    if info.state == "COMPLETED":
        return replace(reported, state="finished", exit_code=0, reason=None, since=reported.since or since)
    if info.state == "CANCELLED" or cancelled:
        code = reported.exit_code if reported.exit_code in CANCELLED else CANCELLED[1]
        return replace(reported, state="cancelled", exit_code=code, reason=None, since=since)
    if reported.state == "cancelled" and info.state != "TIMEOUT":
        return reported
    options, code = launched.job.options, info.exit_code or 1
    reason = _ENDS.get(info.state, "").format(minutes=options.time_minutes, delay=options.signal_delay_s)
    reason = reason or _other_process(launched) or f"SLURM: {info.state.lower().replace('_', ' ')}"
    return replace(reported, state="failed", exit_code=code, reason=reason, since=since)


def _other_process(launched: LaunchedJob) -> str | None:
    """The error of a process other than the first one."""
    job: Job[Options] = launched.job
    for rank in range(1, job.options.nodes * tasks_per_node(job)):
        if error := JobNotes(launched.folder, rank).why():
            return f"process {rank}: {error['kind']}: {error['message']}"
    return None


def _explain_refusal(error: TrainerError, job: Job[Options]) -> TrainerError:
    """sbatch's refusal, with the key that it is about."""
    options = job.options
    for phrase, key, value in (
        ("invalid partition", "partition", options.partition),
        ("invalid account", "account", options.account),
        ("invalid qos", "qos", options.qos),
        ("invalid feature", "constraint", options.constraint),
        ("invalid generic resource", "gpus", options.gpus),
        ("invalid node name", "nodelist", options.nodelist or options.exclude),
    ):
        if phrase in error.message.lower() and value is not None:
            known = partitions() if key == "partition" else []
            hint = did_you_mean(str(value), known) or (f" Partitions: {', '.join(known)}." if known else "")
            return ConfigError(f"launcher.{key}={value}: {error.message}.{hint}")
    return error


def _environment(job: Job) -> dict[str, str]:
    """The variables that sbatch hands on: those of this process, except for three kinds.

    These are the variables that travel in the job's file, those of an allocation that this process is in, and those
    of the launcher that started this process.
    """
    environment = background_environment({})
    hidden = set(job.environment) - {"PYTHONPATH"} | _OF_THIS_PROCESS
    client_settings = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden
        and (name in client_settings or not name.startswith(("SLURM_", "PMI_", "PMIX_")))
    }


_OF_THIS_PROCESS = {
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TRAINER_LAUNCHED", "TRAINER_FAILURE", "TRAINER_CORES", "SUBMITIT_EXECUTOR"),
}
_MEANINGS = {
    "Priority": "jobs of higher priority come first",
    "BeginTime": "not before a certain time; SLURM delays a job that was put back into the queue",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "PartitionConfig": "it asks for more than the partition gives",
    "launchfailedrequeuedheld": "it couldn't be started and is held; scontrol release starts it",
}
_ENDS = {
    "TIMEOUT": "its time was over before it had saved (launcher.time_minutes={minutes}, "
    "launcher.signal_delay_s={delay}); resume continues from its last checkpoint",
    "OUT_OF_MEMORY": "it took more memory than it asked for; launcher.memory_gb gives it more",
    "NODE_FAIL": "its node failed",
    "DEADLINE": "its deadline was over",
    "PREEMPTED": "another job took its place; resume continues it",
}
