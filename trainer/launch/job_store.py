"""The jobs that were launched from here: a file in each job's folder, found by handle, by run id, or as ``latest``."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, did_you_mean
from trainer.core.secrets import mask_strings
from trainer.launch.handle import Handle
from trainer.launch.job import FOLDER, Job
from trainer.runs.run import LATEST

_FILE = "launched.json"


@dataclass(frozen=True)
class LaunchedJob:
    """A job that was handed to a launcher.

    Attributes:
        handle: its name.
        folder: the job's folder.
        facts: title, launcher, run_id, run_dir, host, submitted (Unix time), earlier handles, and the launcher's own
            entries.
    """

    handle: Handle
    folder: Path
    facts: dict[str, Any]

    @property
    def job(self) -> Job[Any]:
        """The job, read from its folder."""
        return Job.load(self.folder)

    @property
    def run_dir(self) -> Path | None:
        """The directory of its run; None for a command that trains nothing."""
        path = self.facts.get("run_dir")
        return Path(path) if path else None


def record_job(job: Job, handle: Handle, **facts: Any) -> LaunchedJob:
    """Write ``launched.json`` for a job that was handed over. It holds nothing secret.

    Args:
        job: the job.
        handle: the job's name.
        facts: the launcher's own entries.
    """
    previous = read_launched(job.folder)
    earlier = [*previous.facts["earlier"], str(previous.handle)] if previous else []
    content = {
        "handle": str(handle),
        "earlier": [text for text in earlier if text != str(handle)],
        "launcher": job.options.name,
        "title": job.title,
        "command": job.command,
        "run_id": job.id if job.run_dir else None,
        "run_dir": job.run_dir and str(job.run_dir),
        "host": socket.gethostname(),
        "submitted": time.time(),
        **facts,
    }
    atomic_write(job.folder / _FILE, json.dumps(mask_strings(content), indent=1, ensure_ascii=False) + "\n")
    return LaunchedJob(handle, job.folder, content)


def read_launched(folder: Path) -> LaunchedJob | None:
    """The launched job of a folder; None if nothing was launched from it."""
    try:
        facts = json.loads((folder / _FILE).read_bytes())
        return LaunchedJob(Handle.saved(facts["handle"]), folder, facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def all_jobs(output_dir: str | Path) -> list[LaunchedJob]:
    """All jobs that were launched with this ``output_dir``, oldest first."""
    folders = (Path(output_dir).absolute() / FOLDER).glob(f"*/{_FILE}")
    jobs = [launched for path in folders if (launched := read_launched(path.parent))]
    return sorted(jobs, key=lambda job: (job.facts.get("submitted", 0.0), str(job.handle)))


def named_job(command: str, names: Sequence[str], output_dir: str | Path) -> LaunchedJob:
    """The job that a command is about.

    Args:
        command: the command, for messages.
        names: what was typed; must be one name.
        output_dir: the ``output_dir`` that the job was launched with.

    Raises:
        ConfigError: no name or several were typed, or there is no such job.
    """
    if len(names) != 1:
        raise ConfigError(f"{command}: name one job: python -m trainer {command} <handle>, or latest")
    return find_job(output_dir, names[0])


def find_job(output_dir: str | Path, name: str) -> LaunchedJob:
    """The job with a handle or of a run.

    Args:
        output_dir: the ``output_dir`` that it was launched with.
        name: a handle, a run's id or its beginning, a run's directory, or ``latest``.

    Raises:
        ConfigError: there is no such job, or several fit.
    """
    jobs = all_jobs(output_dir)
    if Handle.looks_like(name) and not Path(name).exists():
        handle = Handle.parse(name)
        matches = [job for job in jobs if job.handle == handle]
        matches = matches or [job for job in jobs if str(handle) in job.facts.get("earlier", ())]
        matches = matches or [job for job in _trial_jobs(output_dir) if job.handle == handle]
        if matches:
            return matches[-1]  # engines use numbers again
        hint = did_you_mean(name, [str(job.handle) for job in jobs]) or _newest_hint(jobs)
        raise ConfigError(f"nothing was launched as {handle} with output_dir={output_dir}.{hint}")
    if name == LATEST and jobs:
        return jobs[-1]
    name = Path(name).name if Path(name).is_dir() else name
    matches = [job for job in jobs if job.folder.name == name]
    matches = matches or [job for job in jobs if job.folder.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(job.folder.name for job in matches[:5])
        raise ConfigError(f"{name!r} could be any of {choices}; write more of it")
    hint = did_you_mean(name, [job.folder.name for job in jobs]) or _newest_hint(jobs)
    raise ConfigError(f"nothing was launched as {name!r} with output_dir={output_dir}.{hint}")


def _trial_jobs(output_dir: str | Path) -> list[LaunchedJob]:
    """The jobs of sweeps' trials, which ``status`` doesn't list."""
    folders = (Path(output_dir).absolute() / "sweeps").glob(f"*/trials/*.job/{_FILE}")
    return [launched for path in folders if (launched := read_launched(path.parent))]


def _newest_hint(jobs: list[LaunchedJob]) -> str:
    return f" The newest is {jobs[-1].handle}." if jobs else " Nothing was launched there yet."
