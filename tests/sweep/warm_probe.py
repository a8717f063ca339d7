"""Imported by a pool's process: ``probe <what>`` is then a command of the trainer, which looks at its process."""

from __future__ import annotations

import atexit
import builtins
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

import trainer.cli.command_line

_real = trainer.cli.command_line.main


def main(words: Sequence[str] | None = None) -> int:
    if not words or words[0] != "probe":
        return _real(words)
    action = {"state": state, "disturb": disturb, "wait": wait, "save": save, "fail": fail, "thread": thread}
    return action[words[1]](*words[2:])


def state(path: str) -> int:
    """Write what a fresh process could be told from."""
    told: dict[str, Any] = {
        "argv": sys.argv[1:],
        "main": sys.modules["__main__"].__spec__.name,
        "cwd": os.getcwd(),
        "path": sys.path[0],
        "leader": os.getpid() == os.getpgid(0) == os.getsid(0),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "default": [signal.getsignal(one) == signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGCHLD)],
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "stdin": os.path.realpath("/proc/self/fd/0"),
        "files": sorted(int(one) for one in os.listdir("/proc/self/fd")),
        "random": [random.random(), float(numpy.random.rand())],
        "mark": getattr(builtins, "warm_probe_mark", None),
        "environment": {name: os.environ.get(name) for name in ("WARM_A", "WARM_B", "WARM_LEFT")},
        "threads": threading.active_count(),
    }
    if "torch" in sys.modules:
        import torch
        from mmengine.registry import MODELS

        told["torch"] = [torch.get_num_threads(), torch.rand(1).item(), torch.initial_seed()]
        told["registered"] = "WarmProbe" in MODELS.module_dict
        told["cuda"] = torch.cuda.is_initialized()
    Path(path).write_text(json.dumps(told))
    print("said", flush=True)
    return 0


def disturb() -> int:
    """Leave as much behind as a process can."""
    builtins.warm_probe_mark = 1  # type: ignore[attr-defined]
    os.environ["WARM_LEFT"] = "1"
    os.chdir("/")
    random.seed(0)
    numpy.random.seed(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "torch" in sys.modules:
        import torch
        from mmengine.registry import MODELS

        MODELS.register_module("WarmProbe", module=type("WarmProbe", (), {}))
        torch.manual_seed(1)
        torch.set_num_threads(1)
    print("error", file=sys.stderr)
    return 3


def wait() -> int:
    print("waiting", flush=True)
    while True:
        time.sleep(60)


def save(path: str) -> int:
    """As a training: told to stop, it saves and ends with 143."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("waiting", flush=True)
    while not stop.wait(0.1):
        pass
    Path(path).write_text("saved")
    return 143


def fail() -> int:
    raise RuntimeError("of no trainer's making")


def thread(folder: str) -> int:
    """End while a thread still works, and something is to be done at exit."""

    def work() -> None:
        time.sleep(0.3)
        Path(folder, "thread").touch()

    atexit.register(Path(folder, "exit").touch)
    threading.Thread(target=work).start()
    print("no line feed", end="")
    return 0


trainer.cli.command_line.main = main
