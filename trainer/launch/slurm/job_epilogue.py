"""``python -m trainer.launch.slurm.job_epilogue <folder> <exit code>``: the last line of a job's script.

Puts the job back into the queue if its time was over, or if a process failed and may be started again. The same run
then continues from its checkpoint.
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
from trainer.launch.slurm.cli import run_command
from trainer.launch.slurm.rank_main import REQUEUE_FILE, attempt_name
from trainer.schema import SlurmConfig as Options

_IDLE_FILE = "idle.json"
_MAX_IDLE_ATTEMPTS = 3
_CONFIG_ERROR = 2  # exit code of a mistake in the configuration, which would fail again


def main(folder: str, code: int) -> int:
    """Put the job back into the queue if there is a reason. Returns 0: the job's exit code is the trainer's anyway."""
    if reason := requeue_reason(Path(folder), code, os.environ):
        print(f"back into the queue: {reason}", flush=True)
        try:
            run_command("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        except (ResourceError, NetworkError) as error:
            print(f"{error.kind}: {error.message}; continue with python -m trainer resume", file=sys.stderr)
    return 0


def requeue_reason(folder: Path, code: int, environment: Mapping[str, str]) -> str | None:
    """Why a job has to be started again; None if it has not.

    Args:
        folder: the job's folder.
        code: the exit code of the job's processes.
        environment: SLURM's variables.
    """
    notes = JobNotes(folder)
    if code == 0 or notes.cancelled:
        return None
    job: Job[Options] = Job.load(folder)
    if code in CANCELLED:
        is_time_over = _read(folder / REQUEUE_FILE).get("attempt") == attempt_name(environment)
        return "its time was over" if is_time_over and _makes_progress(job, notes) else None
    allowed = job.options.max_restarts
    failures = _count_failures(notes, f"slurm:{environment['SLURM_JOB_ID']}")
    if code != _CONFIG_ERROR and failures <= allowed:
        return f"it failed (exit code {code}), restart {failures} of {allowed}"
    return None


def _count_failures(notes: JobNotes, handle: str) -> int:
    """How many attempts of this job failed, the last one included."""
    codes = [attempt["exit_code"] for attempt in notes.attempts if attempt["handle"] == handle]
    return max(sum(code not in (0, *CANCELLED) for code in codes), 1)


def _makes_progress(job: Job, notes: JobNotes) -> bool:
    """Whether another start makes sense: not if several attempts in a row have saved nothing."""
    if job.run_dir is None:
        return True
    manifest = job.run_dir / "checkpoints" / "manifest.json"
    started = notes.last.get("started", 0.0)
    has_saved = manifest.exists() and manifest.stat().st_mtime >= started
    idle = 0 if has_saved else _read(job.folder / _IDLE_FILE).get("times", 0) + 1
    atomic_write(job.folder / _IDLE_FILE, json.dumps({"times": idle}) + "\n")
    if idle >= _MAX_IDLE_ATTEMPTS:
        print(
            f"its time was over {idle} times before it had saved anything: launcher.time_minutes gives it more",
            file=sys.stderr,
        )
    return idle < _MAX_IDLE_ATTEMPTS


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads(path.read_bytes())
        return content
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
