"""On this machine, in a process that goes on when the one that started it ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from trainer.core.errors import ResourceError
from trainer.core.installation import child_environment
from trainer.core.processes import is_same_process, kill_tree, started_at
from trainer.launch import LAUNCHED
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import Launcher, prepared

LOG = "output.log"


class Local(Launcher):
    """``local:<pid>``: one process, or the one that keeps those of a torchrun."""

    scheme = "local"
    poll = 0.1

    def plan(self, job: Job) -> DryRun:
        where = f"cd {shlex.quote(str(job.cwd))}"
        return DryRun.of(job, [DryRunPart("in the background", f"{where}\n{shlex.join(self.command(job))}")])

    def command(self, job: Job) -> list[str]:
        """What is started; the words are in the job's file, where nobody else can read them."""
        return far_command(job)

    def submit(self, job: Job) -> LaunchedJob:
        prepared(job)
        with (job.folder / LOG).open("ab") as log:
            try:
                process = subprocess.Popen(
                    self.command(job),
                    cwd=job.cwd,
                    env=background_environment(job.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # neither Ctrl-C nor the terminal's end reach it
                )
            except OSError as error:
                raise ResourceError(f"{job.title} can't be started: {error}") from error
        handle = Handle(self.scheme, str(process.pid))
        # Asked while it can't have been anybody else's: it is our child.
        return record_job(job, handle, started=started_at(process.pid))

    def status(self, launched: LaunchedJob) -> JobStatus:
        return JobNotes(launched.folder).status(self._alive(launched), launched.run_dir)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        path = launched.folder / LOG
        if not path.exists() and launched.run_dir:  # what it says is on the terminal that it was started from
            path = launched.run_dir / "train.log"
        if path.exists():
            yield from lines(path, lambda: follow and self._alive(launched), self.poll)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        if not self._alive(launched):
            return
        JobNotes(launched.folder).cancel()
        pid = int(launched.handle.name)
        if now:
            kill_tree(pid)
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _alive(self, launched: LaunchedJob) -> bool:
        if launched.facts["host"] != socket.gethostname():
            raise ResourceError(
                f"{launched.handle} is a process of {launched.facts['host']}; ask there, this is "
                f"{socket.gethostname()}"
            )
        return is_same_process(int(launched.handle.name), launched.facts.get("started"))


def far_command(job: Job) -> list[str]:
    """What starts the trainer where a job runs."""
    return [sys.executable, "-m", "trainer.launch.job_main", str(job.folder)]


def background_environment(job: dict[str, str]) -> dict[str, str]:
    """This process's variables for one that goes on without it, with those that travel."""
    found = child_environment({**os.environ, **job})
    found.pop(LAUNCHED, None)
    return found


def lines(path: Path, more: Callable[[], bool], poll: float) -> Iterator[str]:
    """The lines of a file, and those that are added while ``more()`` says so."""
    rest = b""
    with path.open("rb") as file:
        while True:
            going_on = more()  # asked first: nothing is missed after the end
            while chunk := file.read(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if not going_on:
                break
            time.sleep(poll)
    if rest:
        yield rest.decode("utf-8", "replace")
