"""What was launched from here: a file in each job's folder, found by handle, by run id, or as ``latest``."""

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
        facts: title, launcher, run_id, run_dir, host, submitted (Unix time), earlier handles, and what the
            launcher noted for itself.
    """

    handle: Handle
    folder: Path
    facts: dict[str, Any]

    @property
    def job(self) -> Job:
        return Job.load(self.folder)

    @property
    def run_dir(self) -> Path | None:
        found = self.facts.get("run_dir")
        return Path(found) if found else None


def record_job(job: Job, handle: Handle, **facts: Any) -> LaunchedJob:
    """Note that a job was launched; ``facts`` are the launcher's own. Nothing secret is in there."""
    known = read(job.folder)
    earlier = [*known.facts["earlier"], str(known.handle)] if known else []
    about = {
        "handle": str(handle),
        "earlier": [one for one in earlier if one != str(handle)],
        "launcher": job.options.name,
        "title": job.title,
        "command": job.command,
        "run_id": job.id if job.run_dir else None,
        "run_dir": job.run_dir and str(job.run_dir),
        "host": socket.gethostname(),
        "submitted": time.time(),
        **facts,
    }
    atomic_write(job.folder / _FILE, json.dumps(mask_strings(about), indent=1, ensure_ascii=False) + "\n")
    return LaunchedJob(handle, job.folder, about)


def all_jobs(output_dir: str | Path) -> list[LaunchedJob]:
    """Everything launched with this ``output_dir``, oldest first."""
    folders = (Path(output_dir).absolute() / FOLDER).glob(f"*/{_FILE}")
    found = [launched for path in folders if (launched := read(path.parent))]
    return sorted(found, key=lambda one: (one.facts.get("submitted", 0.0), str(one.handle)))


def named_job(command: str, names: Sequence[str], output_dir: str | Path) -> LaunchedJob:
    """The job that was named for a command.

    Raises:
        ConfigError: none or several were named, or nothing was launched as that.
    """
    if len(names) != 1:
        raise ConfigError(f"{command}: name one job: python -m trainer {command} <handle>, or latest")
    return find_job(output_dir, names[0])


def find_job(output_dir: str | Path, name: str) -> LaunchedJob:
    """What was launched under a handle, for a run (its id, the beginning of it, its folder), or last (``latest``).

    Raises:
        ConfigError: nothing was, or several could be meant.
    """
    known = all_jobs(output_dir)
    if Handle.looks_like(name) and not Path(name).exists():
        handle = Handle.parse(name)
        found = [one for one in known if one.handle == handle]
        found = found or [one for one in known if str(handle) in one.facts.get("earlier", ())]
        found = found or [one for one in _trials(output_dir) if one.handle == handle]
        if found:
            return found[-1]  # a number may come again
        hint = did_you_mean(name, [str(one.handle) for one in known]) or _newest(known)
        raise ConfigError(f"nothing was launched as {handle} with output_dir={output_dir}.{hint}")
    if name == LATEST and known:
        return known[-1]
    name = Path(name).name if Path(name).is_dir() else name
    found = [one for one in known if one.folder.name == name]
    found = found or [one for one in known if one.folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(one.folder.name for one in found[:5])
        raise ConfigError(f"{name!r} could be any of {some}; write more of it")
    hint = did_you_mean(name, [one.folder.name for one in known]) or _newest(known)
    raise ConfigError(f"nothing was launched as {name!r} with output_dir={output_dir}.{hint}")


def _trials(output_dir: str | Path) -> list[LaunchedJob]:
    """The jobs of sweeps' trials, which are not listed among what was launched."""
    folders = (Path(output_dir).absolute() / "sweeps").glob(f"*/trials/*.job/{_FILE}")
    return [launched for path in folders if (launched := read(path.parent))]


def _newest(known: list[LaunchedJob]) -> str:
    return f" The newest is {known[-1].handle}." if known else " Nothing was launched there yet."


def read(folder: Path) -> LaunchedJob | None:
    """What was launched from a folder; None where nothing was."""
    try:
        facts = json.loads((folder / _FILE).read_bytes())
        return LaunchedJob(Handle.parse(facts["handle"]), folder, facts)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None
