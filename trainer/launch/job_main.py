"""``python -m trainer.launch.job_main <folder>``: what every launcher runs where a job is to run.

Says in the folder how the job is doing, and runs the trainer in this very process, which signals then reach directly.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from trainer.launch import LAUNCHED, SEVERAL, file_signals
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes


def main(folder: str) -> int:
    """Run the job of a folder. Returns the trainer's exit code.

    The rank of a process of several is in RANK; the first one alone works where nothing is trained.
    """
    job = Job.load(folder)
    rank = int(os.environ.get("RANK") or 0)
    several = SEVERAL in os.environ
    if several and rank:
        say_into(job.folder / f"rank-{rank}.log")
    os.environ.update(job.environment)
    os.chdir(job.cwd)
    notes = JobNotes(job.folder, rank if several or rank else None)
    # An engine's launcher says what its handle is; without one it is this process's.
    handle = os.environ.setdefault(LAUNCHED, f"local:{os.getpid()}")
    os.environ["TRAINER_FAILURE"] = str(notes.failure)
    # Whoever starts programs in the background may have them ignore Ctrl-C; a signal means save and end here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminated)
    cancelled = notes.cancelled  # before it had a chance
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

            code = trainer(job.words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        notes.ended(code)
    return code


def say_into(path: Path) -> None:
    """Have what this process and those below it say in a file of its own, beside the first one's table."""
    with path.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _terminated(signum: int, frame: FrameType | None) -> None:
    """Before and after training there is nothing to save."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
