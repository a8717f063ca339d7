"""How a job is doing: what it notes itself in its folder, and what its launcher makes of that."""

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
CANCELLED = (130, 143)
_CANCEL = "cancel.json"


@dataclass(frozen=True)
class JobStatus:
    """How a job is doing.

    Attributes:
        state: one of ``STATES``; ``lost`` is an end without a word, as by a kill or a machine's failure.
        exit_code: the trainer's, once it has ended and where it is known.
        reason: why it waits or why it ended, in words.
        run_id, run_dir: the run that it works on, None for what is no training.
        attempts: how many times it was started.
        nodes: the machines that it runs or ran on.
        since: when the state began (Unix time), where that is known.
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
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "nodes": list(self.nodes)}


class JobNotes:
    """What the job itself says: ``state.json`` in its folder, with an entry for each attempt.

    Args:
        rank: one of several processes, which has files of its own; None for who speaks for the job.
    """

    def __init__(self, folder: Path, rank: int | None = None) -> None:
        mark = "" if rank is None else f".{rank}"
        self.path = folder / f"state{mark}.json"
        self.failure = folder / f"failure{mark}.json"
        self._cancel = folder / _CANCEL

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Oldest first: started, pid, host, ended, exit_code, error."""
        with suppress(OSError, ValueError, KeyError):
            found: list[dict[str, Any]] = json.loads(self.path.read_bytes())["attempts"]
            return found
        return []

    @property
    def last(self) -> dict[str, Any]:
        attempts = self.attempts
        return attempts[-1] if attempts else {}

    def started(self, handle: str) -> None:
        """Note that this process works on the job from now on."""
        self.failure.unlink(missing_ok=True)
        pid = os.getpid()
        who = {"pid": pid, "process": started_at(pid), "host": socket.gethostname(), "handle": handle}
        outcome = {"ended": None, "exit_code": None, "error": None}
        self._write([*self.attempts, {"started": time.time(), **who, **outcome}])

    def ended(self, exit_code: int, error: dict[str, str] | None = None) -> None:
        """Note how this process ended, with why where that is known or was said in ``failure.json``."""
        attempts = self.attempts
        if attempts:
            why = (error or self.why()) if exit_code else None
            attempts[-1].update(ended=time.time(), exit_code=exit_code, error=why)
            self._write(attempts)

    def why(self) -> dict[str, str] | None:
        """The error that the newest attempt ended with: its kind and message."""
        with suppress(OSError, ValueError, KeyError):
            found = json.loads(self.failure.read_bytes())
            return {"kind": found["kind"], "message": found["message"]}
        return None

    def cancel(self) -> None:
        """Note that somebody wants the end."""
        atomic_write(self._cancel, json.dumps({"at": time.time()}) + "\n")

    def uncancel(self) -> None:
        self._cancel.unlink(missing_ok=True)

    @property
    def cancelled(self) -> bool:
        return self._cancel.exists()

    def status(self, alive: bool, run_dir: Path | None = None) -> JobStatus:
        """What the notes say.

        Args:
            alive: whether the launcher still has it, queued or running.
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
            # what was cancelled before it began, or at once, says nothing itself
            code = None if not self.cancelled else 143
            reason = None if self.cancelled else "it ended without a word; resume goes on from its checkpoint"
        else:
            state = "finished" if code == 0 else "cancelled" if code in CANCELLED else "failed"
        return JobStatus(
            state=state,
            exit_code=code,
            reason=mask_text(reason) if reason else None,
            run_id=run_dir.name if run_dir else None,
            run_dir=str(run_dir) if run_dir else None,
            attempts=len(self.attempts),
            nodes=tuple(dict.fromkeys([last["host"]] if last else [])),
            since=since,
        )

    def _write(self, attempts: list[dict[str, Any]]) -> None:
        # A folder that only the starting machine may write is no reason not to train.
        with suppress(OSError):
            atomic_write(self.path, json.dumps({"attempts": attempts}, indent=1) + "\n")
