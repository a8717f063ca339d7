"""The sink's process beside a training: starting it, waiting a little for it at the end, catching up afterwards.

As a program it is that process: ``python -m trainer.platform.callbacks.sink_process <run dir> <pid> <size of the
log>``.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from trainer.core.cli_text import program, short
from trainer.core.errors import NetworkError, TrainerError
from trainer.core.installation import child_environment
from trainer.core.processes import start_in_background
from trainer.core.secrets import log_to_stderr
from trainer.platform.callbacks import sink_state as states
from trainer.platform.callbacks.delivery import Delivery, Retry
from trainer.platform.callbacks.payloads import CompletionPayload, failure_text
from trainer.platform.callbacks.platform_sink import Failure, PlatformSink
from trainer.platform.callbacks.sink_state import PlatformSinkState, is_silent
from trainer.runs.callback import CallbackHandle
from trainer.runs.events import sink
from trainer.runs.run import Run
from trainer.schema import Callback

logger = logging.getLogger("trainer")

STOPPED_SECONDS = 15.0
MARGIN_SECONDS = 330.0
"""What the end may take besides the callbacks: the uploads."""


@dataclass
class PlatformSinkProcess(CallbackHandle):
    """The sink's process; None where there is none."""

    run_dir: Path
    process: subprocess.Popen[bytes] | None = None
    flush_seconds: float = 60.0

    def wait(self, stopped: bool = False) -> str | None:
        """Wait until the backend knows how the run has ended, or the time for that is over; gives what is missing.

        Args:
            stopped: the run was cancelled, and its process must end soon.
        """
        if self.process is None:
            return None
        try:
            code = self.process.wait(STOPPED_SECONDS if stopped else self.flush_seconds + MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if code == 0 or is_silent(self.run_dir):
            return None
        state = PlatformSinkState.load(self.run_dir / "sinks" / f"{states.NAME}.json")
        reason = state.error if state and state.error else f"see {log_file(self.run_dir)}"
        return (
            f"the platform doesn't have all of this run: {reason.splitlines()[0][:300]}; "
            f"later: {program()} replay {short(self.run_dir)} sink=platform"
        )

    def check(self, stopped: bool = False) -> None:
        """As :meth:`wait`.

        Raises:
            NetworkError: something is left in the outbox.
        """
        missing = self.wait(stopped)
        if missing:
            raise NetworkError(missing)


def start(run: Run, callback: Callback) -> PlatformSinkProcess:
    """Start telling the platform about a run, in a process that no Ctrl-C in the terminal reaches.

    Raises:
        ConfigError: the address or the job's number is missing or wrong.
    """
    if int(os.environ.get("RANK") or 0) > 0:
        return PlatformSinkProcess(run.dir)  # of a training's processes, the first one tells
    new = PlatformSinkState.of(callback)
    new.since = time.time()
    before = PlatformSinkState.load(run.dir / "sinks" / f"{states.NAME}.json")
    if before is not None and (before.address, before.job_id) == (new.address, new.job_id):
        new.uploaded, new.links = before.uploaded, before.links
    states.save(run, new)
    states.speak(run.dir)
    return PlatformSinkProcess(run.dir, _spawn(run, str(callback.url)), new.flush_seconds)


def sync(
    run: Run, uri: str | None = None, seconds: float = 20.0, failure: Failure | None = None
) -> PlatformSinkState:
    """Tell the platform all that the log of a run says and it doesn't know yet; the result's ``error`` says why that
    failed, None when it did not. Nothing is told about a job that was cancelled.

    Args:
        uri: another callback address than the run's own.
        seconds: how long a backend that doesn't answer, or another process that is telling, is waited for.
        failure: why the training ended, where it couldn't say so itself.

    Raises:
        ConfigError: the run is no job of a platform.
        ResourceError: another process is telling the platform about this run.
    """
    platform = PlatformSink(run, uri, seconds, failure)
    try:
        state: PlatformSinkState = sink.sync(platform, seconds)
        return state
    finally:
        platform.close()


def report_failure(address: str, job_id: int, failure: Failure, retry: Retry, seconds: float) -> bool:
    """Tell the platform that a job failed before there was a run; whether it knows."""
    with tempfile.TemporaryDirectory(prefix="trainer-callback-") as folder:
        delivery = Delivery(folder, address, retry)
        text = failure_text(failure.kind, failure.message)
        body = CompletionPayload(job_id, "failed", 0, error_message=text, exit_code=failure.exit_code)
        delivery.tell("completion", "completion", job_id, body)
        delivery.flush(seconds)
        delivery.close()
        return delivery.outbox.why("completion") == "delivered"


def log_file(run_dir: Path) -> Path:
    return run_dir / "sinks" / f"{states.NAME}.log"


def main(run_dir: str, pid: str, after: str) -> int:
    """0 when the platform knows all of the run, 1 when it doesn't."""
    log_to_stderr()
    sink.outlive_signals()
    if hasattr(os, "nice"):
        os.nice(10)  # training has the processor first
    platform = PlatformSink(Run.open(run_dir))
    try:
        cursor = sink.follow(platform, int(pid), int(after))
    except TrainerError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return error.exit_code
    finally:
        platform.close()
    return int(cursor.error is not None)


def _spawn(run: Run, url: str) -> subprocess.Popen[bytes] | None:
    size = run.events.stat().st_size if run.events.exists() else 0
    command = [
        sys.executable,
        "-m",
        "trainer.platform.callbacks.sink_process",
        str(run.dir),
        str(os.getpid()),
        str(size),
    ]
    environment = child_environment({**os.environ, states.ENVIRONMENT: url})
    try:
        return start_in_background(command, log=log_file(run.dir), environment=environment)
    except OSError as error:
        raise NetworkError(
            f"the platform can't be told about this run: no process for it ({error})"
        ) from None


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if is_silent(Path(sys.argv[1])):
        sys.exit(code)  # an upload that is under way may end
    sys.stderr.flush()
    os._exit(code)  # one that a store holds up may not
