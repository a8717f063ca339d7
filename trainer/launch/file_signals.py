"""Signals for a job, wherever it runs: a file in its folder, which the job itself looks for.

For what an engine can't pass on: Ray stops all processes of a job at once, data workers before they are done with,
and none but SLURM has a word for a sweep's pruning.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from contextlib import suppress
from pathlib import Path

from trainer.core.atomic_files import atomic_write

SECONDS = 0.5
_PREFIX = "signal-"


def post_signal(folder: Path, signum: int) -> None:
    """Have the job's first process get a signal, within a second of its looking into the folder."""
    name = signal.Signals(signum).name
    atomic_write(folder / f"{_PREFIX}{name}-{secrets.token_hex(4)}", "")


def empty(folder: Path) -> None:
    """Throw away what was meant for an earlier attempt."""
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def deliver(folder: Path) -> list[int]:
    """Take what lies there and send it to this process; what was."""
    found = []
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            if not entry.name.startswith(_PREFIX):
                continue
            signum = getattr(signal, entry.name.split("-")[1], None)
            with suppress(OSError):
                os.unlink(entry.path)
                if signum is not None:
                    found.append(int(signum))
                    os.kill(os.getpid(), signum)
    return found


def watch_signals(folder: Path) -> None:
    """Look for signals from now on, in a thread that ends with the process."""

    def look() -> None:
        while True:
            pause.wait(SECONDS)
            deliver(folder)

    pause = threading.Event()
    threading.Thread(target=look, name="mailbox", daemon=True).start()
