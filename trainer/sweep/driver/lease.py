"""Who works on a running trial, and whether that driver is still there.

The lease is a note of the trial: the driver's name, where it runs, and a count that grows while it lives. A driver
of this machine is asked for by its process; one elsewhere counts as gone when its count hasn't moved for
``sweep.lease_seconds``, by the clock of who looks.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.processes import boot_id, start_ticks
from trainer.sweep.stores.trial_store import TrialRecord

Process = tuple[int, float]  # id, and when it began: an id alone is used again


@dataclass
class LeaseOwner:
    """This driver, and the leases it gives."""

    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    place: str = field(default_factory=lambda: place())
    process: Process = field(default_factory=lambda: identify_process(os.getpid()))
    beat: int = 0

    def lease(self, child: Process | str | None = None) -> dict[str, Any]:
        """A lease's note, each time another one. ``child``: the process that trains, or the handle of its job."""
        self.beat += 1
        return {
            "owner": self.name,
            "place": self.place,
            "driver": list(self.process),
            "child": list(child) if isinstance(child, tuple) else child,
            "beat": self.beat,
            "time": round(time.time(), 1),
        }

    def owns(self, record: TrialRecord) -> bool:
        return (record.notes.get("lease") or {}).get("owner") == self.name


class LeaseWatch:
    """Which running trials nobody works on, as far as can be seen from here."""

    def __init__(self, owner: LeaseOwner, seconds: float) -> None:
        self.owner, self.seconds = owner, seconds
        self._seen: dict[int, tuple[Any, float]] = {}

    def abandoned(self, record: TrialRecord) -> bool:
        """Whether a running trial's driver has given it up, has ended, or hasn't been heard of for too long."""
        lease = record.notes.get("lease")
        if self.owner.owns(record):
            return False
        if "lease" in record.notes and lease is None:
            return True  # a driver that was stopped has said so
        mark = (lease["owner"], lease["beat"]) if lease else None
        now = time.monotonic()
        before, since = self._seen.get(record.number, (mark, now))
        self._seen[record.number] = (
            (mark, since) if before == mark and record.number in self._seen else (mark, now)
        )
        if lease and lease.get("place") == self.owner.place:
            return not is_alive(lease["driver"])
        return now - self._seen[record.number][1] > self.seconds

    def orphan(self, record: TrialRecord) -> Process | None:
        """The process of a trial that has outlived its driver here, if it has."""
        lease = record.notes.get("lease") or {}
        child = lease.get("child")
        if (
            not isinstance(child, (list, tuple))
            or lease.get("place") != self.owner.place
            or not is_alive(child)
        ):
            return None
        return int(child[0]), float(child[1])


def place() -> str:
    """This machine, since it was started; containers on one machine are different places."""
    parts = [socket.gethostname()]
    if boot := boot_id():
        parts.append(boot[:8])
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return ":".join(parts)


def identify_process(pid: int) -> Process:
    """A process by its id and its start, in the kernel's ticks; 0 where the system doesn't tell."""
    ticks = start_ticks(pid)
    if ticks is not None:
        return pid, float(ticks)
    return pid, -1.0 if Path(f"/proc/{pid}/stat").exists() else 0.0  # a zombie, or unknown


def is_alive(process: Any) -> bool:
    """Whether that very process is there."""
    try:
        pid, start = int(process[0]), float(process[1])
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, IndexError):
        return False
    return identify_process(pid)[1] == start
