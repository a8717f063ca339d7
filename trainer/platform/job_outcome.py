"""How a training's process ended, told to the backend where the process and its sink couldn't."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path

from trainer.core.errors import TrainerError
from trainer.platform import job_run
from trainer.platform.callbacks import sink_process, sink_state
from trainer.platform.callbacks.failure_callback import send
from trainer.platform.callbacks.payloads import CompletionPayload, failure_text
from trainer.platform.callbacks.platform_sink import Failure
from trainer.platform.jobs import PlatformJob
from trainer.platform.supervisor import Supervisor
from trainer.runs.run import Run

REPORT = "TRAINER_FAILURE"
"""The variable that names the file in which a command says why it failed: ``{kind, message, traceback}``."""
ORPHANS_SECONDS = 400.0
"""A sink whose training was killed uploads what there is, then tells how it ended."""
SYNC_SECONDS = 60.0
TRACKER_SECONDS = 70.0
"""A tracker that isn't through when the training ends goes on for a minute."""
logger = logging.getLogger("trainer")


class OutcomeWatch:
    """Looks at a job's run before and after its process."""

    def __init__(self, job: PlatformJob) -> None:
        self.job = job
        self.report = job.work / "failure.json"
        self.job.work.mkdir(parents=True, exist_ok=True)
        self.report.unlink(missing_ok=True)
        self._before = self._sink()

    def stopped(self, signum: int) -> None:
        """After SIGTERM nothing is sent any more, whatever the process still does."""
        if signum == signal.SIGTERM and (self.job.run_dir / "sinks").is_dir():
            sink_state.silence(self.job.run_dir)

    def settle(self, code: int, supervisor: Supervisor) -> int:
        """0 when the training has ended well and the backend knows it, else 1."""
        if code == 0:
            job_run.mark_ended(Run.open(self.job.run_dir))
            supervisor.wait_for_orphans(TRACKER_SECONDS)
            return 0
        if supervisor.stop.signum:
            self.stopped(supervisor.stop.signum)
        supervisor.wait_for_orphans(ORPHANS_SECONDS)
        if supervisor.stop.signum:
            return 1
        failure, trace = failure_of(self.report, code)
        if not self.report.exists():  # the command has printed it otherwise
            logger.error("%s: %s", failure.kind, failure.message)
        if self._sink() != self._before:
            if self._sync(failure) and failure.kind == "NetworkError" and self._finished():
                job_run.mark_ended(Run.open(self.job.run_dir))  # it was only the telling that had failed
                return 0
        else:
            body = CompletionPayload(
                self.job.id,
                "failed",
                0,
                error_message=failure_text(failure.kind, failure.message),
                traceback=trace,
                exit_code=1,
            )
            send(self.job.variables, self.job.id, self.job.url, body)
        return 1

    def _sink(self) -> int | None:
        """When a sink of this run has put something down last; once it has, the completion is its to tell."""
        try:
            return (self.job.run_dir / "sinks" / f"{sink_state.NAME}.json").stat().st_mtime_ns
        except OSError:
            return None

    def _sync(self, failure: Failure) -> bool:
        """Tell what the sink couldn't; what it has told isn't told again. Whether the backend knows all now."""
        try:
            error = sink_process.sync(Run.open(self.job.run_dir), seconds=SYNC_SECONDS, failure=failure).error
        except (TrainerError, OSError) as problem:
            error = str(problem)
        if error:
            logger.error("the backend doesn't know how the job ended: %s", error)
        return not error

    def _finished(self) -> bool:
        try:
            return bool(json.loads((self.job.run_dir / "result.json").read_bytes())["status"] == "finished")
        except (OSError, ValueError, KeyError):
            return False


def failure_of(report: Path, code: int) -> tuple[Failure, str | None]:
    """Why a command failed, and its traceback, by the file that it left, or else by its exit code."""
    try:
        said = json.loads(report.read_bytes())
        return Failure(said["kind"], said["message"]), said.get("traceback")
    except (OSError, ValueError, KeyError, TypeError):
        return Failure("ResourceError" if code == -signal.SIGKILL else "UnknownError", _words(code)), None


def _words(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed (SIGKILL), mostly for lack of memory: a smaller batch, fewer workers"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"
