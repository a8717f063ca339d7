"""Drivers in processes of their own without their start-up: forked from one that has imported what they need.

As a program it is that process: it reads one JSON command a line and answers each with a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHEAP = (sys.executable, str(HERE / "cheap.py"))
DEADLINE = 300.0
PATHS = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]


@dataclass
class Driver:
    """A driver that runs, or ran."""

    pid: int
    said: Path
    _ask: Callable[..., Any]

    def poll(self) -> int | None:
        """Its exit code, negative when a signal ended it; None while it runs."""
        code: int | None = self._ask(poll=self.pid)
        return code

    def wait(self) -> int:
        until = time.monotonic() + DEADLINE
        while (code := self.poll()) is None:
            assert time.monotonic() < until, self.output
            time.sleep(0.05)
        return code

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    @property
    def trials(self) -> list[int]:
        """The processes that it has started and that still run."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except OSError:
            return []

    @property
    def output(self) -> str:
        return self.said.read_text()


class Drivers:
    """The process that drivers are forked from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "drivers.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(PATHS)},
            start_new_session=True,
        )

    def start(self, output: Path, *words: str, **variables: str) -> Driver:
        """Begin a sweep of cheap trainings, two at a time unless the words say otherwise."""
        self._count += 1
        said = self.folder / f"driver-{self._count}.txt"
        said.touch()
        given = [f"output_dir={output}", *words]
        if not any(word.startswith("sweep.workers=") for word in words):
            given.append("sweep.workers=2")
        pid = self.ask(start=given, env=variables, said=str(said))
        return Driver(pid, said, self.ask)

    def run(self, output: Path, *words: str, **variables: str) -> Driver:
        """As :meth:`start`, and wait for its end."""
        driver = self.start(output, *words, **variables)
        driver.wait()
        return driver

    def ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def wait_for(what: Callable[[], Any], driver: Driver | None = None) -> Any:
    """Wait until something is there; the driver must live meanwhile."""
    until = time.monotonic() + DEADLINE
    while not (found := what()):
        output = driver.output if driver else ""
        assert time.monotonic() < until, output
        assert driver is None or driver.poll() is None, output
        time.sleep(0.02)
    return found


def _serve() -> None:
    from trainer.config.compose import compose
    from trainer.schema.conf_folders import Conf

    for module in (
        "optuna",
        "trainer.sweep.main",
        "trainer.sweep.stores.optuna_store",
        "trainer.sweep.stores.samplers",
    ):
        __import__(module)
    compose("train", [], conf=Conf())
    ended: dict[int, int] = {}
    started: set[int] = set()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            answer: Any = os.fork()
            if answer == 0:
                _drive(command)
            started.add(answer)
        else:
            pid = command["poll"]
            if pid not in ended:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        print(json.dumps(answer), file=answers, flush=True)
    for pid in started - set(ended):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)  # its trials are told to stop by the system


def _drive(command: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        # Whoever started the tests may ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = os.open(command["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(number, file)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.environ.update(command["env"])
        if {"TOY_LAUNCHER", "TOY_RAY"} & os.environ.keys():
            from trainer.core.builtin_plugins import BUILT_IN

            BUILT_IN["trainer.launchers"]["torchrun"] = "tests.sweep.toy_launcher:ToyLauncher"
            BUILT_IN["trainer.launchers"]["ray"] = "tests.sweep.toy_launcher:ToyRay"
        from trainer.core.errors import TrainerError
        from trainer.schema.conf_folders import Conf
        from trainer.sweep.main import run_sweep

        try:
            code = run_sweep("train", command["start"], Conf(), program=CHEAP)
        except TrainerError as error:
            print(f"{error.kind}: {error.message}")
            code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
