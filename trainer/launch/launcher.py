"""What a launcher is: eight verbs, the same for every engine that starts jobs."""

from __future__ import annotations

import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar

from trainer.core.errors import ResourceError
from trainer.core.secrets import mask_text
from trainer.launch.dry_run import DryRun
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob
from trainer.schema import LauncherConfig as Options


class Launcher(ABC):
    """Starts jobs through one engine, and knows how they are doing.

    Engines' own packages are imported in the methods, when they are needed.

    Attributes:
        scheme: what its handles begin with.
        poll: seconds between two looks at a job that is waited for.
    """

    scheme: ClassVar[str]
    poll: ClassVar[float] = 0.5

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def plan(self, job: Job) -> DryRun:
        """Exactly what :meth:`submit` would submit, secrets masked. Nothing is written or asked."""

    @abstractmethod
    def submit(self, job: Job) -> LaunchedJob:
        """Hand the job over; it goes on when this process ends.

        Raises:
            ResourceError: the engine isn't there or refuses.
        """

    @abstractmethod
    def status(self, launched: LaunchedJob) -> JobStatus:
        """How it is doing now."""

    @abstractmethod
    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """What it says, in lines without their ends: so far, or until it has ended."""

    @abstractmethod
    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Tell the trainer to save and end, or end it at once. Doesn't wait."""

    def resume(self, launched: LaunchedJob) -> LaunchedJob:
        """Start the same job again: the same run, from its checkpoint.

        Raises:
            ResourceError: it hasn't ended.
        """
        refuse_running(self.status(launched), launched)
        return self.submit(launched.job)

    def run(self, job: Job) -> int:
        """Submit a job and stay with it. Returns its exit code."""
        launched = self.submit(job)
        print(launched.handle, file=sys.stderr, flush=True)
        return self.wait(launched)

    def wait(self, launched: LaunchedJob) -> int:
        """Print what a job says until it ends. Ctrl-C or SIGTERM cancel it, which saves; a second one kills it.

        Returns:
            The trainer's exit code; 1 where nobody knows it.
        """
        with _Stops(self, launched):
            for line in self.logs(launched, follow=True):
                print(mask_text(line), flush=True)
            status = self.status(launched)
            while not status.ended:
                time.sleep(self.poll)
                status = self.status(launched)
        if status.state == "lost":
            raise ResourceError(f"{launched.handle}: {status.reason or 'it ended without a word'}")
        if status.exit_code is None:
            return CANCELLED[1] if status.state == "cancelled" else int(status.state != "finished")
        return status.exit_code


def refuse_running(status: JobStatus, launched: LaunchedJob) -> None:
    """Raise ResourceError for a job that hasn't ended."""
    if not status.ended:
        raise ResourceError(
            f"{launched.handle} is {status.state}; it can be resumed once it has ended "
            f"(python -m trainer cancel {launched.handle})"
        )


def prepared(job: Job) -> Job:
    """A job just before it is submitted: saved, and not cancelled any more."""
    job.save()
    JobNotes(job.folder).uncancel()
    return job


class _Stops:
    """Ctrl-C and SIGTERM while a job is waited for: the first cancels it, the second kills it."""

    def __init__(self, launcher: Launcher, launched: LaunchedJob) -> None:
        self._cancel = lambda now: launcher.cancel(launched, now=now)
        self._handle_name = str(launched.handle)
        self._told = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Stops:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._told += 1
        doing = "cancelling" if self._told == 1 else "killing"
        print(f"{doing} {self._handle_name}", file=sys.stderr, flush=True)
        self._cancel(self._told > 1)
