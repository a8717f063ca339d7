"""Starting the drawing process, telling it what happens, and waiting a little for it at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.core.installation import child_environment
from trainer.core.processes import start_in_background

logger = logging.getLogger("trainer")


class DrawClient:
    """The process that draws a run's plots; without one every call does nothing."""

    def __init__(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self.process = process
        self._ended = False

    def tell(self, word: str) -> None:
        """``warm``, ``draw`` or ``end``; returns at once, also where nobody listens."""
        if self.process is None or self._ended:
            return
        assert self.process.stdin is not None
        self._ended = word == "end"
        with suppress(OSError, ValueError):  # it has gone, or hasn't read for thousands of words
            os.write(self.process.stdin.fileno(), f"{word}\n".encode())

    def finish(self, seconds: float) -> bool:
        """Have the last plots drawn and wait at most so long for them; it goes on by itself after that."""
        self.tell("end")
        if self.process is None:
            return True
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(OSError, ValueError):
                assert self.process.stdin is not None
                self.process.stdin.close()


def start_drawing(run_dir: Path) -> DrawClient:
    """Start drawing the plots of a run, in a process of its own that no Ctrl-C in the terminal reaches."""
    log = run_dir / "sinks" / "plots.log"
    environment = child_environment()
    # One thread: numpy's would only be in training's way.
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    try:
        process = start_in_background(
            [sys.executable, "-m", "trainer.plots", str(run_dir), "--follow"],
            log=log,
            environment=environment,
            stdin=subprocess.PIPE,
        )
    except OSError as error:
        logger.warning("no plots are drawn: their process can't be started (%s)", error)
        return DrawClient()
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return DrawClient(process)


@contextmanager
def mark(run_dir: Path, pid: int) -> Iterator[None]:
    """While the block runs, ``sinks/plots.pid`` says who draws."""
    file = run_dir / "sinks" / "plots.pid"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(pid))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def wait_until_drawn(run_dir: Path, seconds: float) -> bool:
    """Wait at most so long while a process draws plots of the run; whether none does any more.

    For those who copy ``plots/`` elsewhere when a run has ended.
    """
    file = run_dir / "sinks" / "plots.pid"
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.kill(int(file.read_text()), 0)
        except (OSError, ValueError):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
