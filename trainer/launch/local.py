"""``launcher=local``: on this machine, in a process that goes on when the one that started it ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from trainer.core.errors import ResourceError
from trainer.core.installation import child_environment
from trainer.core.processes import ProcessIdentity, kill_tree, start_in_background, started_at
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import ConfigT, Launcher, prepare_submission
from trainer.launch.variables import LAUNCHED

LOG = "output.log"


class Local(Launcher[ConfigT]):
    """Jobs are processes of this machine; a handle is ``local:<pid>``."""

    scheme = "local"
    handle_form = "<pid>"
    handle_pattern = r"\d+"
    poll = 0.1

    def plan(self, job: Job[ConfigT]) -> DryRun:
        """The command that is started in the background."""
        text = f"cd {shlex.quote(str(job.cwd))}\n{shlex.join(self.command(job))}"
        return DryRun.of(job, [DryRunPart("in the background", text)])

    def command(self, job: Job[ConfigT]) -> list[str]:
        """The command line of the job's process. The job's arguments are in its file, which others can't read."""
        return job_command(job)

    def submit(self, job: Job[ConfigT]) -> LaunchedJob:
        """Start the job's process in a session of its own."""
        prepare_submission(job)
        try:
            process = start_in_background(
                self.command(job),
                log=job.folder / LOG,
                environment=background_environment(job.environment),
                cwd=job.cwd,
            )
        except OSError as error:
            raise ResourceError(f"{job.title} can't be started: {error}") from error
        handle = Handle(self.scheme, str(process.pid))
        # No other process can have the id yet: this one is our child.
        return record_job(job, handle, started=started_at(process.pid))

    def status(self, launched: LaunchedJob) -> JobStatus:
        """The job's own report, and whether its process runs."""
        return JobNotes(launched.folder).status(self._is_running(launched), launched.run_dir)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """The output of the job's process; the run's log if the process was started on a terminal."""
        path = launched.folder / LOG
        if not path.exists() and launched.run_dir:
            path = launched.run_dir / "train.log"
        if path.exists():
            yield from follow_lines(path, lambda: follow and self._is_running(launched), self.poll)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Send SIGTERM to the job's process, or kill it with all processes below it."""
        if not self._is_running(launched):
            return
        JobNotes(launched.folder).cancel()
        pid = int(launched.handle.name)
        if now:
            kill_tree(pid)
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _is_running(self, launched: LaunchedJob) -> bool:
        if launched.facts["host"] != socket.gethostname():
            raise ResourceError(
                f"{launched.handle} is a process of {launched.facts['host']}; ask there, this is "
                f"{socket.gethostname()}"
            )
        return ProcessIdentity(int(launched.handle.name), launched.facts.get("started")).is_running()


def job_command(job: Job) -> list[str]:
    """The command line that runs a job, wherever that is."""
    return [sys.executable, "-m", "trainer.launch.job_main", str(job.folder)]


def background_environment(variables: dict[str, str]) -> dict[str, str]:
    """This process's variables for a process that goes on without it, with those that travel with a job."""
    environment = child_environment({**os.environ, **variables})
    environment.pop(LAUNCHED, None)
    return environment


def follow_lines(path: Path, more: Callable[[], bool], poll: float) -> Iterator[str]:
    """The lines of a file, and those that are added as long as ``more()`` is true.

    Args:
        path: the file.
        more: whether its writer still runs.
        poll: seconds between two looks at the file.
    """
    rest = b""
    with path.open("rb") as file:
        while True:
            is_growing = more()  # before reading, so that nothing is missed at the end
            while chunk := file.read(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if not is_growing:
                break
            time.sleep(poll)
    if rest:
        yield rest.decode("utf-8", "replace")
