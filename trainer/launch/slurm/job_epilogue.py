"""``python -m trainer.launch.slurm.job_epilogue <folder> <exit code>``: the last line of a job's script.

Puts the job back into the queue where its time was over, or where a process of it failed and may be started again.
The same run goes on then, from its checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import NetworkError, ResourceError
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes
from trainer.launch.slurm.cli import ask
from trainer.launch.slurm.rank_main import AGAIN, attempt

_IDLE = "idle.json"
_MOST_IDLE = 3
_MISTAKE = 2  # in the configuration: it would fail again


def main(folder: str, code: int) -> int:
    """Decide, and tell SLURM. Returns 0; the job's exit code is the trainer's in any case."""
    if why := wants_again(Path(folder), code, os.environ):
        print(f"back into the queue: {why}", flush=True)
        try:
            ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        except (ResourceError, NetworkError) as error:
            print(f"{error.kind}: {error.message}; python -m trainer resume goes on with it", file=sys.stderr)
    return 0


def wants_again(folder: Path, code: int, environment: Mapping[str, str]) -> str | None:
    """Why a job that ended with this code has to be started again; None where it hasn't."""
    notes = JobNotes(folder)
    if code == 0 or notes.cancelled:
        return None
    job = Job.load(folder)
    if code in CANCELLED:
        over = _read(folder / AGAIN).get("attempt") == attempt(environment)
        return "its time was over" if over and _gets_on(job, notes) else None
    most = job.options.max_restarts
    failures = _failures(notes, f"slurm:{environment['SLURM_JOB_ID']}")
    if code != _MISTAKE and failures <= most:
        return f"it failed (exit code {code}), restart {failures} of {most}"
    return None


def _failures(notes: JobNotes, handle: str) -> int:
    """Starts of this job that failed, the last one among them."""
    codes = [one["exit_code"] for one in notes.attempts if one["handle"] == handle]
    return max(sum(code not in (0, *CANCELLED) for code in codes), 1)


def _gets_on(job: Job, notes: JobNotes) -> bool:
    """Whether there is a point in another start: not when several in a row have saved nothing."""
    if job.run_dir is None:
        return True
    saved = job.run_dir / "checkpoints" / "manifest.json"
    began = notes.last.get("started", 0.0)
    idle = (
        0
        if saved.exists() and saved.stat().st_mtime >= began
        else _read(job.folder / _IDLE).get("times", 0) + 1
    )
    atomic_write(job.folder / _IDLE, json.dumps({"times": idle}) + "\n")
    if idle >= _MOST_IDLE:
        print(
            f"its time was over {idle} times before it had saved anything: launcher.time_minutes gives it more",
            file=sys.stderr,
        )
    return idle < _MOST_IDLE


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
