"""Running the set-up's commands: their output goes to a log whose tail is shown when one fails."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

START = time.monotonic()
TAIL = 25


class StepFailed(Exception):
    """A command failed; ``log`` holds its output."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name)
        self.log = log

    def tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL:])


class Step:
    """A command under way; leaving the ``with`` block without ``wait`` ends it."""

    def __init__(self, name: str, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.name, self.log = name, log
        self._begun = time.monotonic()
        self._output: IO[str] = log.open("a", encoding="utf-8")
        self._output.write("\n$ {}\n".format(" ".join(command)))
        self._output.flush()
        env = dict(os.environ, NO_ALBUMENTATIONS_UPDATE="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
            cwd=cwd, env=env, start_new_session=True, close_fds=False,
        )  # fmt: skip

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> Step:
        code = self._process.wait()
        self._output.close()
        if code != 0:
            raise StepFailed(self.name, self.log)
        say(f"{self.name}: {time.monotonic() - self._begun:.0f} s")
        return self

    def stop(self) -> None:
        """End the command and all it started, if it is still at work."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            self._process.wait()
        self._output.close()


def run(name: str, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
    with Step(name, command, log, cwd) as step:
        step.wait()


def say(text: str) -> None:
    """One line for people, with the seconds since the set-up began."""
    print(f"[{time.monotonic() - START:4.0f} s] {text}", flush=True)
