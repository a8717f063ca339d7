"""Processes of this machine: start them, tell them apart from later ones with the same id, and kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.core.installation import child_environment


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by its id and its start time, since the system uses ids again.

    Attributes:
        pid: the process id.
        started: ``<boot id>/<clock ticks>``, as :func:`started_at` returns it; None for a process that had ended.

    >>> ProcessIdentity.of(os.getpid()).is_running()
    True
    >>> ProcessIdentity(os.getpid(), "another boot/1").is_running()
    False
    """

    pid: int
    started: str | None

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The process that has this id now."""
        return cls(pid, started_at(pid))

    def is_running(self) -> bool:
        """Whether this very process runs; a zombie doesn't."""
        return self.started is not None and started_at(self.pid) == self.started


def started_at(pid: int) -> str | None:
    """When a process was started, unique over reboots; None if it doesn't run. A zombie doesn't run.

    Where the system doesn't say, as without ``/proc``, the result is ``"unknown"`` for every process that runs.
    """
    fields = _stat(pid)
    if fields is None:
        return "unknown" if _exists(pid) else None
    return None if fields[0] in "ZX" else f"{boot_id()}/{fields[19]}"


def start_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot (Linux); None if it doesn't run. A zombie doesn't run."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """The id of this boot: clock ticks start anew with each. Empty where the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def descendants(pid: int) -> list[int]:
    """The ids of all processes below one, nearest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    result = list(children.get(pid, []))
    for child in result:  # the list grows during the loop
        result += children.get(child, [])
    return result


def kill_tree(pid: int) -> None:
    """Kill a process and all processes below it."""
    for number in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)


def start_in_background(
    command: Sequence[str],
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stop_with_parent: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.

    Args:
        command: the program and its arguments.
        log: the file that its output is appended to, made with its folder; None: this process's output.
        environment: its variables; None: this process's, with this package on its path.
        cwd: its working folder; None: this process's.
        stdin: ``subprocess.DEVNULL`` or ``subprocess.PIPE``.
        stop_with_parent: whether it gets SIGTERM when this process ends (Linux only).

    Raises:
        OSError: the program can't be started, or the log can't be written.
    """
    command = [*(parent_death_command() if stop_with_parent else []), *command]
    environment = child_environment() if environment is None else dict(environment)

    def start(output: int | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            bufsize=0,
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )

    if log is None:
        return start(None)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return start(file.fileno())


def parent_death_command() -> list[str]:
    """What to put before a command line so that the program gets SIGTERM when this process ends.

    Returns:
        The first arguments of the command line; none on systems other than Linux, which can't do it.
    """
    if not sys.platform.startswith("linux"):
        return []
    program = Path(__file__).with_name("parent_death_signal.py")
    return [sys.executable, "-I", "-S", str(program), str(os.getpid())]


def _stat(pid: int) -> list[str] | None:
    """The fields of proc(5) from the state (field 3) on; the name before them is in brackets and may hold anything."""
    with suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields if len(fields) > 19 else None
    return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
