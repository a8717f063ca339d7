"""Trainings in processes of their own without their start-up: forked from one that has imported everything and
trained nothing (torch refuses to train in a fork of a process that has).

As a program it is that process: it reads one JSON command a line and answers each with a line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.cli import command_line

HERE = Path(__file__).parent


@dataclass
class Forked:
    """A training that runs, or ran."""

    nursery: Nursery
    pid: int
    said: Path

    def poll(self) -> int | None:
        """Its exit code, negative when a signal killed it; None while it runs."""
        return self.nursery.ask(poll=self.pid)

    def wait(self) -> int:
        """Its exit code, negative when a signal killed it."""
        return self.nursery.ask(wait=self.pid)

    @property
    def output(self) -> str:
        return self.said.read_text()


class Nursery:
    """The process that trainings are forked from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        root = str(HERE.parents[1])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        )

    def start(self, run: Any, *, env: dict[str, str] | None = None, **options: Any) -> Forked:
        """Begin ``toy.main`` for ``run`` in a process group of its own."""
        self._count += 1
        said = self.folder / f"{self._count}.txt"
        pid = self.ask(start=str(run.dir), options=options, env=env or {}, said=str(said))
        return Forked(self, pid, said)

    def trainer(self, cwd: Path, *words: str, env: dict[str, str] | None = None) -> Forked:
        """Begin ``python -m trainer <words>`` in a folder."""
        self._count += 1
        said = self.folder / f"{self._count}.txt"
        pid = self.ask(start=str(cwd), words=words, env=env or {}, said=str(said))
        return Forked(self, pid, said)

    def trainers(self, cwd: Path, *words: str, size: int = 2) -> list[Forked]:
        """One ``python -m trainer <words>`` of several processes, begun."""
        return [self.trainer(cwd, *words, env=env) for env in places(size)]

    def load(self, *modules: str) -> None:
        """Import modules that trainings need, once for all that begin later."""
        self.ask(load=modules)

    def train(self, run: Any, **options: Any) -> Forked:
        """As :meth:`start`, and wait until it has ended."""
        forked = self.start(run, **options)
        forked.wait()
        return forked

    def train_together(self, run: Any, size: int = 2, **options: Any) -> list[Forked]:
        """One training of several processes, from its start to its end."""
        forked = self.start_together(run, size, **options)
        for one in forked:
            one.wait()
        return forked

    def start_together(self, run: Any, size: int = 2, **options: Any) -> list[Forked]:
        """One training of several processes, begun."""
        return [self.start(run, env=env, **options) for env in places(size)]

    def ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def places(size: int) -> list[dict[str, str]]:
    """What each of several processes that train together finds in its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [
        {**meeting, "WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(size)
    ]


def _serve() -> None:
    import toy

    toy.warm_up()
    ended: dict[int, int] = {}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            answer: Any = os.fork()
            if answer == 0:
                _train(toy, command)
            ended.pop(answer, None)  # numbers come round again
        elif "load" in command:
            answer = [importlib.import_module(name).__name__ for name in command["load"]]
        else:
            kind, pid = next(iter(command.items()))
            if pid not in ended:
                done, status = os.waitpid(pid, os.WNOHANG if kind == "poll" else 0)
                if done:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        print(json.dumps(answer), file=answers, flush=True)


def _train(toy: Any, command: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        said = os.open(command["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(number, file)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.environ.update(command["env"])
        sys.path[:0] = filter(None, command["env"].get("PYTHONPATH", "").split(os.pathsep))
        if "words" in command:
            os.chdir(command["start"])
            code = command_line.main(command["words"])
        else:
            code = toy.main(command["start"], command["options"])
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
