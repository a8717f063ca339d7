"""How a job is doing: what it reports itself in its folder, and what its launcher makes of that.

The error that ended a process is in ``failure.json``, which the command line writes where TRAINER_FAILURE says so.
torchelastic's ``@record`` writes such a file too, but it needs torch, works only below torchrun's agent, and is lost
with the agent; these files are the same under every launcher and stay with the job.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.processes import started_at
from trainer.core.secrets import mask_text

STATES = ("queued", "running", "finished", "failed", "cancelled", "lost")
ENDED = STATES[2:]
CANCELLED = (130, 143)  # exit codes of a process that was stopped by SIGINT or SIGTERM
_CANCEL = "cancel.json"


@dataclass(frozen=True)
class JobStatus:
    """How a job is doing.

    Attributes:
        state: one of ``STATES``; ``lost`` means that it ended without an exit code, as after a kill or a crash of the
            machine.
        exit_code: the trainer's exit code, once the job has ended and if it is known.
        reason: why it waits or why it ended.
        run_id: the id of its run; None for a command that trains nothing.
        run_dir: the directory of its run; None for a command that trains nothing.
        attempts: how many times it was started.
        nodes: the machines that it runs or ran on.
        since: when the state began (Unix time), if that is known.

    >>> JobStatus("failed", exit_code=1, reason="DatasetError: no images").ended
    True
    """

    state: str
    exit_code: int | None = None
    reason: str | None = None
    run_id: str | None = None
    run_dir: str | None = None
    attempts: int = 0
    nodes: tuple[str, ...] = ()
    since: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        """The fields, as ``status --json`` prints them."""
        return {**asdict(self), "nodes": list(self.nodes)}


class JobNotes:
    """What a job reports about itself: ``state.json`` in its folder, with an entry for each attempt.

    Args:
        folder: the job's folder.
        rank: the rank of a process that has files of its own beside the job's; None for the process that reports for
            the whole job.
    """

    def __init__(self, folder: Path, rank: int | None = None) -> None:
        suffix = "" if rank is None else f".{rank}"
        self.path = folder / f"state{suffix}.json"
        self.failure = folder / f"failure{suffix}.json"
        self._cancel = folder / _CANCEL

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """All attempts, oldest first, with started, pid, host, ended, exit_code and error."""
        with suppress(OSError, ValueError, KeyError):
            attempts: list[dict[str, Any]] = json.loads(self.path.read_bytes())["attempts"]
            return attempts
        return []

    @property
    def last(self) -> dict[str, Any]:
        """The newest attempt; empty before the first one."""
        attempts = self.attempts
        return attempts[-1] if attempts else {}

    def started(self, handle: str) -> None:
        """Record that this process works on the job from now on."""
        self.failure.unlink(missing_ok=True)
        pid = os.getpid()
        process = {"pid": pid, "process": started_at(pid), "host": socket.gethostname(), "handle": handle}
        outcome = {"ended": None, "exit_code": None, "error": None}
        self._write([*self.attempts, {"started": time.time(), **process, **outcome}])

    def ended(self, exit_code: int, error: dict[str, str] | None = None) -> None:
        """Record how this process ended.

        Args:
            exit_code: the process's exit code.
            error: the kind and message of the error; None: those in ``failure.json``, if any.
        """
        attempts = self.attempts
        if attempts:
            reason = (error or self.why()) if exit_code else None
            attempts[-1].update(ended=time.time(), exit_code=exit_code, error=reason)
            self._write(attempts)

    def why(self) -> dict[str, str] | None:
        """The kind and message of the error in ``failure.json``; None if there is none."""
        with suppress(OSError, ValueError, KeyError):
            failure = json.loads(self.failure.read_bytes())
            return {"kind": failure["kind"], "message": failure["message"]}
        return None

    def cancel(self) -> None:
        """Record that somebody cancels the job."""
        atomic_write(self._cancel, json.dumps({"at": time.time()}) + "\n")

    def uncancel(self) -> None:
        """Forget that somebody cancelled the job, before it is started again."""
        self._cancel.unlink(missing_ok=True)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the job."""
        return self._cancel.exists()

    def status(self, alive: bool, run_dir: Path | None = None) -> JobStatus:
        """The job's status by these files.

        Args:
            alive: whether the launcher still has the job, queued or running.
            run_dir: the directory of its run.
        """
        last = self.last
        code, error = last.get("exit_code"), last.get("error")
        reason = f"{error['kind']}: {error['message']}" if error else None
        since = last.get("ended") or last.get("started")
        if alive:
            state = "running" if last and last["ended"] is None else "queued"
            code, reason = None, None
        elif code is None:
            state = "cancelled" if self.cancelled else "lost"
            # A job that was cancelled before it started, or was killed, reports no exit code itself.
            code = CANCELLED[1] if self.cancelled else None
            reason = None if self.cancelled else _LOST
        else:
            state = "finished" if code == 0 else "cancelled" if code in CANCELLED else "failed"
        return JobStatus(
            state=state,
            exit_code=code,
            reason=mask_text(reason) if reason else None,
            run_id=run_dir.name if run_dir else None,
            run_dir=str(run_dir) if run_dir else None,
            attempts=len(self.attempts),
            nodes=(last["host"],) if last else (),
            since=since,
        )

    def _write(self, attempts: list[dict[str, Any]]) -> None:
        # A folder that only the submitting machine can write is no reason not to train.
        with suppress(OSError):
            atomic_write(self.path, json.dumps({"attempts": attempts}, indent=1) + "\n")


_LOST = "it ended without an exit code, as after a kill; resume continues from its checkpoint"
