"""``python -m trainer.launch.torchrun_supervisor <folder>``: what keeps torchrun's processes on a machine, in the background or not.

Imports no torch. A signal is passed on once to each process of the training, however often a terminal sends it, and
the exit code is the trainer's, not torchrun's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from trainer.core.processes import kill_tree, stop_with_parent
from trainer.core.secrets import mask_text
from trainer.launch import LAUNCHED, SEVERAL
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes
from trainer.launch.rank_failures import RankEnding, end_leftovers, ending, newest
from trainer.launch.torchrun_command import agent_command, agent_environment


def main(folder: str) -> int:
    """Run the job of a folder through torchrun. Returns the trainer's exit code."""
    job = Job.load(folder)
    handle = os.environ.setdefault(LAUNCHED, f"local:{os.getpid()}")
    notes = JobNotes(job.folder)
    notes.started(handle)
    end = RankEnding(1)
    try:
        end = keep(agent_command(job), agent_environment(job), job)
    except SystemExit as stop:
        end = RankEnding(stop.code if isinstance(stop.code, int) else 1)
    finally:
        notes.ended(end.exit_code, end.error)
    return end.exit_code


def keep(command: Sequence[str], environment: Mapping[str, str], job: Job) -> RankEnding:
    """Start torchrun's agent, stay with it, pass signals on, and find out why the training ended."""
    since = time.time()
    with _Stop() as stop:
        agent = stop.follow(
            subprocess.Popen(
                [*stop_with_parent(), *command],
                cwd=job.cwd,
                env={**os.environ, **job.environment, **environment, SEVERAL: "1"},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C reaches this process alone
            )
        )
        code = agent.wait()
    if code == 0:
        return RankEnding(0)
    attempts = newest(job.folder, since)
    end_leftovers(attempts)
    end = ending(attempts, stop.received)
    if end.rank and end.error:  # the first process has said it itself, where people see it
        print(f"{end.error['kind']}: {_told(end)}", file=sys.stderr)
    if end.rank is None and end.exit_code == 1 and not stop.received:
        print("ResourceError: the processes of this training ended without a word", file=sys.stderr)
    return end


def _told(end: RankEnding) -> str:
    assert end.error is not None
    return mask_text(f"process {end.rank}: {end.error['message']}")


class _Stop:
    """SIGINT and SIGTERM for torchrun's agent: the first is passed on, the second kills all."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def follow(self, agent: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._agent = agent
        return agent

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first, self.received = self.received is None, self.received or signum
        if self._agent is None:
            raise SystemExit(128 + signum)
        if first:
            self._agent.send_signal(signum)
        else:
            kill_tree(self._agent.pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
