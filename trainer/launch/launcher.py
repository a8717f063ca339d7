"""The base class of launchers: the same verbs for every engine that starts jobs."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Generic

from trainer.core.errors import ResourceError
from trainer.core.secrets import mask_text
from trainer.core.stop_handler import StopHandler
from trainer.launch.dry_run import DryRun
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob
from trainer.schema import LauncherConfig

if TYPE_CHECKING:  # a type checker's own: at run time Python before 3.13 knows no defaults
    from typing_extensions import TypeVar

    ConfigT = TypeVar("ConfigT", bound=LauncherConfig, default=LauncherConfig)
else:
    from typing import TypeVar

    ConfigT = TypeVar("ConfigT")


class Launcher(ABC, Generic[ConfigT]):
    """Starts jobs through one engine, and knows how they are doing.

    A launcher of your own implements the five abstract methods; resuming, following and Ctrl-C come with this class.
    Import the engine's package in the methods that need it, so that listing launchers stays cheap. Whatever starts the
    job must run ``python -m trainer.launch.job_main <job.folder>``.

    Attributes:
        config_class: the dataclass of its options, the group ``launcher``.
        requires: the package that it can't do without, and the extra that installs it (empty: the package itself);
            None where it needs none.
        scheme: what its handles begin with. Empty in a plug-in: its entry point's name.
        handle_form: the rest of its handles, for messages.
        handle_pattern: a regular expression for the rest of its handles.
        poll: seconds between two looks at a job that is waited for.

    >>> class Nowhere(Launcher):
    ...     requires = ("nowhere_sdk", "")
    ...     def plan(self, job): return DryRun.of(job, [])
    ...     def submit(self, job): return record_job(job, Handle(self.scheme, job.id))
    ...     def status(self, launched): return JobNotes(launched.folder).status(alive=False)
    ...     def logs(self, launched, follow=False): yield "nothing runs there"
    ...     def cancel(self, launched, now=False): JobNotes(launched.folder).cancel()
    >>> Nowhere(LauncherConfig()).options.name
    'local'
    """

    config_class: ClassVar[type[LauncherConfig]] = LauncherConfig
    requires: ClassVar[tuple[str, str] | None] = None
    scheme: str = ""
    handle_form: ClassVar[str] = "<id>"
    handle_pattern: ClassVar[str] = r"[\w.:/@-]+"
    poll: ClassVar[float] = 0.5

    def __init__(self, options: ConfigT) -> None:
        self.options: ConfigT = options
        self.scheme = self.scheme or options.name

    @classmethod
    def shared_run_name(cls, options: ConfigT) -> str | None:
        """The name of a training that is started on each of several machines by a command of its own.

        All these commands then make the same run. None where one command starts everything, as almost always.
        """
        return None

    @abstractmethod
    def plan(self, job: Job[ConfigT]) -> DryRun:
        """Return exactly what :meth:`submit` would submit, with secrets masked. Write nothing and ask nobody."""

    @abstractmethod
    def submit(self, job: Job[ConfigT]) -> LaunchedJob:
        """Hand a job over, so that it goes on when this process ends.

        Raises:
            ResourceError: the engine isn't there or refuses.
        """

    @abstractmethod
    def status(self, launched: LaunchedJob) -> JobStatus:
        """Return how a job is doing now."""

    @abstractmethod
    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """Yield a job's output in lines without their ends.

        Args:
            launched: the job.
            follow: whether to go on until the job has ended.
        """

    @abstractmethod
    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Make a job save and stop, without waiting for that.

        Args:
            launched: the job.
            now: kill it instead.
        """

    def resume(self, launched: LaunchedJob) -> LaunchedJob:
        """Start a job that has ended again: the same run, from its checkpoint.

        Raises:
            ResourceError: it hasn't ended.
        """
        refuse_running(self.status(launched), launched)
        return self.submit(launched.job)

    def run(self, job: Job[ConfigT]) -> int:
        """Submit a job and wait for it. Returns its exit code."""
        launched = self.submit(job)
        print(launched.handle, file=sys.stderr, flush=True)
        return self.wait(launched)

    def wait(self, launched: LaunchedJob) -> int:
        """Print a job's output until it ends. Ctrl-C or SIGTERM cancels it, which saves; a second one kills it.

        Returns:
            The trainer's exit code; 1 if it isn't known.

        Raises:
            ResourceError: the job was lost.
        """

        def stop(signum: int, count: int) -> None:
            action = "cancelling" if count == 1 else "killing"
            print(f"{action} {launched.handle}", file=sys.stderr, flush=True)
            self.cancel(launched, now=count > 1)

        with StopHandler(stop):
            for line in self.logs(launched, follow=True):
                print(mask_text(line), flush=True)
            status = self.status(launched)
            while not status.ended:
                time.sleep(self.poll)
                status = self.status(launched)
        if status.state == "lost":
            raise ResourceError(f"{launched.handle}: {status.reason or 'it ended without an exit code'}")
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


def prepare_submission(job: Job) -> None:
    """Save a job just before it is submitted, and forget that it was cancelled."""
    job.save()
    JobNotes(job.folder).uncancel()
