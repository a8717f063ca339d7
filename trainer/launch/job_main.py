"""``python -m trainer.launch.job_main <folder>``: what every launcher runs to run a job.

Reports the job's state in the folder, and runs the trainer in this very process, so that signals reach it directly.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from trainer.launch import file_signals
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes
from trainer.launch.variables import LAUNCHED, SEVERAL


def main(folder: str) -> int:
    """Run the job of a folder. Returns the trainer's exit code.

    One of several processes has its rank in RANK. A command that trains nothing runs in the first process alone.
    """
    job = Job.load(folder)
    rank = int(os.environ.get("RANK") or 0)
    supervised = SEVERAL in os.environ
    if supervised and rank:
        redirect_output(job.folder / f"rank-{rank}.log")
    os.environ.update(job.environment)
    os.chdir(job.cwd)
    notes = JobNotes(job.folder, rank if supervised or rank else None)
    # A cluster's launcher sets the handle; otherwise it is this process's.
    handle = os.environ.setdefault(LAUNCHED, f"local:{os.getpid()}")
    os.environ["TRAINER_FAILURE"] = str(notes.failure)
    # A program that is started in the background may have inherited to ignore Ctrl-C; here it means save and stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    cancelled = notes.cancelled  # before it started
    notes.started(handle)
    if not rank:
        file_signals.watch_signals(job.folder)
    code = 1
    try:
        if cancelled:
            code = 128 + signal.SIGTERM
        elif rank and job.command != "train":
            code = 0
        else:
            from trainer.cli.command_line import main as trainer

            code = trainer(job.argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        notes.ended(code)
    return code


def redirect_output(path: Path) -> None:
    """Append the output of this process and those below it to a file; the first process has the terminal."""
    with path.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """End: before and after training there is nothing to save."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
