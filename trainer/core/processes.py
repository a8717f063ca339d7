"""Processes of this machine by their number, told apart from later ones of the same number."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def started_at(pid: int) -> str | None:
    """When a process was started, as the system counts it; None where none of that number runs.

    One that has ended and waits to be asked for its exit code doesn't run.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None if Path("/proc/self/stat").exists() else _without_proc(pid)
    # The program's name, in brackets, may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{_boot()}/{fields[19]}"


def is_same_process(pid: int, started: str | None) -> bool:
    """Whether the process that was started then still runs."""
    return started is not None and started_at(pid) == started


def descendants(pid: int) -> list[int]:
    """The processes below one, nearest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    for one in found:  # grows while it is walked
        found += children.get(one, [])
    return found


def kill_tree(pid: int) -> None:
    """End a process and all below it at once."""
    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def stop_with_parent() -> list[str]:
    """What comes before a program's own command line so that it gets SIGTERM when this process ends.

    Returns:
        The first words of the command line; none where the system (other than Linux) can't do it.
    """
    if not sys.platform.startswith("linux"):
        return []
    program = Path(__file__).with_name("parent_death_signal.py")
    return [sys.executable, "-I", "-S", str(program), str(os.getpid())]


def _boot() -> str:
    """Which start of the system this is: its clock begins anew with each."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"
