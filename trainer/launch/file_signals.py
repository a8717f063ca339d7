"""Send signals to a job as files in its folder, which the job itself polls, wherever it runs.

For signals that an engine can't pass on: Ray stops all processes of a job at once, data loader processes included,
and only SLURM can send the signal with which a sweep prunes a trial.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from contextlib import suppress
from pathlib import Path

from trainer.core.atomic_files import atomic_write

POLL_SECONDS = 0.5
_PREFIX = "signal-"


def post_signal(folder: Path, signum: int) -> None:
    """Send a signal to the job's first process, which receives it within a second of seeing the file."""
    name = signal.Signals(signum).name
    atomic_write(folder / f"{_PREFIX}{name}-{secrets.token_hex(4)}", "")


def discard_signals(folder: Path) -> None:
    """Delete signals that were meant for an earlier attempt."""
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def deliver_signals(folder: Path) -> list[int]:
    """Send the signals of a folder to this process and delete their files.

    Returns:
        The numbers of the signals.
    """
    delivered = []
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if not entry.name.startswith(_PREFIX):
                continue
            signum = getattr(signal, entry.name.split("-")[1], None)
            with suppress(OSError):
                os.unlink(entry.path)
                if signum is not None:
                    delivered.append(int(signum))
                    os.kill(os.getpid(), signum)
    return delivered


def watch_signals(folder: Path) -> None:
    """Deliver the signals of a folder from now on, in a thread that ends with the process."""

    def poll() -> None:
        while True:
            pause.wait(POLL_SECONDS)
            deliver_signals(folder)

    pause = threading.Event()
    threading.Thread(target=poll, name="job-signals", daemon=True).start()
