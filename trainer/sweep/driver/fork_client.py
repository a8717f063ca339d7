"""Warm trials: forked from a process that has imported everything and used no GPU, instead of importing again.

That process is :mod:`trainer.sweep.driver.fork_server`, on the other end of a socket; lines of JSON go both ways.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.core.processes import start_ticks
from trainer.sweep.driver.fork_server import NEEDED
from trainer.sweep.driver.lease import Process, identify_process
from trainer.sweep.driver.trial_process import Child, ColdLauncher, find_launched

logger = logging.getLogger("trainer")

PROGRAM = (sys.executable, "-m", "trainer")
PACKAGES = ("mmdet", "mmseg", "mmpose")
READY_SECONDS = 300.0
ANSWER_SECONDS = 30.0
CLOSE_SECONDS = 30.0
REFUSED = -1


def can_fork() -> bool:
    """Whether a process that has imported torch can be forked here. On macOS its libraries forbid it."""
    return sys.platform.startswith("linux")


class ForkClient:
    """Starts trials warm. Where it can't, or no longer, it starts them cold and says so once.

    A trial is in all that can be seen a process of its own: session, standard streams, variables, folder, threads,
    signal handlers, random state. It is told to stop (SIGTERM) when the pool's process or the driver ends without a
    word. To be used from one thread.

    Args:
        packages: the OpenMMLab packages that trials need.
        log: takes what the pool's process says; None: nobody does.
        modules: imported instead of these and all that a training needs.
        program: what a cold trial's command line begins with.
    """

    def __init__(
        self,
        packages: Sequence[str] = PACKAGES,
        log: Path | None = None,
        modules: Sequence[str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.modules = [*NEEDED, *packages] if modules is None else list(modules)
        self.log = log
        self._cold = ColdLauncher(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._rest = b""
        self._ready = False
        self._count = 0
        self._pids: dict[int, int] = {}  # a request's number to the process that it gave
        self._codes: dict[int, int] = {}
        self._running: set[int] = set()

    def __enter__(self) -> ForkClient:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the next trial will be warm."""
        self._read(0)
        return self._socket is not None

    def start(self) -> None:
        """Begin to import, in the background."""
        if self._process is not None or not can_fork():
            return
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "trainer.sweep.driver.fork_server", str(theirs.fileno())]
        said: Any = subprocess.DEVNULL
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            said = self.log.open("ab")
        # Without this mmengine asks CUDA for its devices when it is imported, and no fork can use CUDA then.
        env = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", **os.environ}
        try:
            self._process = subprocess.Popen(
                [*command, *self.modules],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is for the driver
            )
            self._socket = ours
        except OSError as error:
            ours.close()
            self._lost(str(error))
        finally:
            theirs.close()
            if said is not subprocess.DEVNULL:
                said.close()

    def run(self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Child:
        """Start ``python -m trainer <words>``, as soon as everything is imported.

        Args:
            env: variables besides those of this process.
            log: takes what it says, after what is there.
            cwd: its folder; None: this process's.
        """
        self.start()
        pid = self._fork(words, env, log, cwd)
        return self._cold.run(words, env, log, cwd) if pid is None else ForkedChild(self, pid)

    def find(self, log: Path) -> Child | None:
        return find_launched(log)

    def close(self) -> None:
        """Tell the trials that still run to stop (SIGTERM), then SIGKILL; end the pool's process."""
        deadline = time.monotonic() + CLOSE_SECONDS
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for pid in sorted(self._running):
                self._send({"signal": [pid, int(signum)]})
            while self._running and self._socket is not None and time.monotonic() < deadline:
                self._read(0.2)
            deadline = time.monotonic() + CLOSE_SECONDS
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _fork(self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None) -> int | None:
        """The process of a new trial; None where there is none to fork from."""
        if not self._until(lambda: self._ready, READY_SECONDS):
            return None
        log.parent.mkdir(parents=True, exist_ok=True)
        self._count += 1
        number = self._count
        self._send(
            {
                "number": number,
                "words": list(words),
                "env": {**os.environ, **env},
                "log": str(log.absolute()),
                "cwd": str((cwd or Path.cwd()).absolute()),
            }
        )
        if not self._until(lambda: number in self._pids, ANSWER_SECONDS):
            return None
        pid = self._pids.pop(number)
        return None if pid == REFUSED else pid

    def _until(self, done: Any, seconds: float) -> bool:
        """Read until something is known; False when the pool's process has ended, or is ended for its silence."""
        deadline = time.monotonic() + seconds
        while self._socket is not None and not done():
            if time.monotonic() > deadline:
                self._lost("it doesn't answer")
                if self._process is not None:
                    self._process.kill()
                return False
            self._read(1.0)
        return bool(done()) and self._socket is not None

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError as error:
                self._lost(str(error))

    def _read(self, timeout: float) -> None:
        """Take note of what the pool's process has said; wait for it at most so long."""
        while self._socket is not None and select.select([self._socket], [], [], timeout)[0]:
            timeout = 0.0
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._lost("it has ended")
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._note(json.loads(line))

    def _note(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = True
        elif "started" in message:
            number, pid = message["started"]
            self._pids[number] = pid
            self._codes.pop(pid, None)  # of an earlier process with that number
            self._running.add(pid)
        elif "ended" in message:
            pid, code = message["ended"]
            self._codes[pid] = code
            self._running.discard(pid)
        elif "refused" in message:
            self._pids[message["refused"][0]] = REFUSED
        elif "failed" in message:
            self._lost(message["failed"])

    def _lost(self, reason: str) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        logger.warning(
            "warm trials: the process they are forked from is gone (%s); trials start cold.", reason
        )


class ForkedChild:
    """A trial that was forked."""

    here = True
    reason: str | None = None

    def __init__(self, pool: ForkClient, pid: int) -> None:
        self.pool, self.pid = pool, pid
        self.identity: Process | str | None = identify_process(pid)
        self._begun = start_ticks(pid)
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative when a signal ended it; None while it runs.

        Where the pool's process has died nobody is told; then it is that of the SIGTERM that such trials get.
        """
        if self._code is None:
            self.pool._read(0)
            self._code = self.pool._codes.get(self.pid)
            if self._code is None and not self.pool.alive and not self._there():
                self._code = -int(signal.SIGTERM)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code.

        Raises:
            TimeoutError: it still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs")
            if self.pool.alive:
                self.pool._read(0.2)
            else:
                time.sleep(0.2)
        return code

    def signal(self, signum: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.poll() is not None:
            return
        if self.pool.alive:  # whose process knows whether it is still that one
            self.pool._send({"signal": [self.pid, int(signum)]})
        elif self._there():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def _there(self) -> bool:
        begun = start_ticks(self.pid)
        return begun is not None and begun == self._begun
