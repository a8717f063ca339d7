"""The process that warm trials are forked from: ``python -m trainer.sweep.driver.fork_server <socket> <modules>``.

It imports everything, trains nothing, asks no GPU anything, and forks a child for each request of the pool
(:mod:`trainer.sweep.driver.fork_client`). When the pool is gone, it has its children stop and save, and ends with
the last.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import random
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from trainer.core.cpu_budget import settle_openmp

# What a training imports, besides the OpenMMLab packages: modules of ours, and what libraries import when first used.
NEEDED = (
    "torch",
    "trainer.engine.compat",
    "trainer.config.compose",
    "trainer.config.hydra_loader",
    "trainer.commands.train",
    "trainer.engine.train",
    "trainer.engine.registered",
    "trainer.engine.runner",
    "trainer.engine.hooks.checkpoints",
    "trainer.engine.checkpoint.writer",
    "trainer.engine.data_order",
    "trainer.engine.hooks.events",
    "trainer.engine.failures",
    "trainer.engine.hooks.profile",
    "trainer.engine.stop_signals",
    "trainer.engine.weights.start",
    "trainer.config.override_checks",
    "trainer.config.cross_checks",
    "trainer.data.digits",
    "trainer.engine.hooks.metric_curves_hook",
    "trainer.engine.oom",
    "trainer.engine.visualization",
    "trainer.engine.hooks.sample_predictions",
    "trainer.inference.predictor",
    "trainer.inference.samples",
    "trainer.zoo.requirements",
    "torch._dynamo",  # of the first optimiser, 2 s
    "setuptools",  # of the report on the environment
    "packaging.requirements",
    "matplotlib.backends.backend_agg",
)
LINGER_SECONDS = 900.0


def main() -> int:
    control = socket.socket(fileno=int(sys.argv[1]))
    job = ForkServer(control).serve(sys.argv[2:])
    return 0 if job is None else _ended(_train(job))


class ForkServer:
    """Forks on request. ``serve`` returns in this process, and once in each child."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: set[int] = set()
        self._wake, wake = socket.socketpair()
        wake.setblocking(False)
        self._wake.setblocking(False)
        self._wakes = wake
        self._rest = b""
        self._before = dict(os.environ)

    def serve(self, modules: list[str]) -> dict[str, Any] | None:
        """Import, then fork until the pool is gone. Returns the request in a child, None at the end."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno())
        started = time.monotonic()
        try:
            _import_all(modules)
        except Exception as error:
            self._say(failed=f"{type(error).__name__}: {error}")
            return None
        self._say(ready=time.monotonic() - started)
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._wake:
                        if signal.SIGTERM in self._woken():
                            self._finish()
                            return None
                        self._reap()
                        continue
                    requests = self._requests()
                    if requests is None:
                        self._finish()
                        return None
                    for request in requests:
                        if self._take(request):
                            selector.close()
                            return request

    def _take(self, request: dict[str, Any]) -> bool:
        """Do what is asked; True in the child that it made."""
        if "signal" in request:
            pid, number = request["signal"]
            if pid in self.children:  # not reaped yet, so the number is still its own
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            return False
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or each child would say it again
        # A child must not run this process's handlers before it has its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._say(refused=[request["number"], str(error)])
            return False
        if pid == 0:
            # What importing has set (libraries do), a process that imports for itself has too.
            added = {name: value for name, value in os.environ.items() if name not in self._before}
            request["env"] = {**added, **request["env"]}
            self._become_child(parent)
            return True
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.children.add(pid)
        self._say(started=[request["number"], pid])
        return False

    def _become_child(self, parent: int) -> None:
        """Leave all that is this process's: session, handlers, sockets."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for ours in (self.control, self._wake, self._wakes):
            ours.close()
        _tie_to_parent(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _requests(self) -> list[dict[str, Any]] | None:
        """What has been asked; None when nobody is there any more."""
        try:
            data = self.control.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _reap(self) -> None:
        for pid in list(self.children):
            with suppress(ChildProcessError):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.children.discard(pid)
                    self._say(ended=[pid, os.waitstatus_to_exitcode(status)])

    def _woken(self) -> set[int]:
        """The signals that have come."""
        try:
            return set(self._wake.recv(4096))
        except BlockingIOError:
            return set()

    def _say(self, **message: Any) -> None:
        with suppress(OSError):  # whoever is gone is noticed when nothing can be read
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def _finish(self) -> None:
        """Have the children stop and save, and wait for them."""
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + LINGER_SECONDS
        while self.children and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.1)


def _import_all(modules: list[str]) -> None:
    """Import modules as a training would: nothing that starts threads, or asks a GPU."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            continue  # the trial says better what is missing
        if name == "torch":
            settle_openmp()  # read once, when torch loads its OpenMP
        module = importlib.import_module(name)
        if name == "trainer.engine.compat":
            module.apply()
        elif name in ("mmdet", "mmseg", "mmpose"):
            importlib.import_module(f"{name}.utils").register_all_modules(init_default_scope=False)
    gc.collect()
    gc.freeze()  # so that the collector in a child doesn't touch, and so copy, what is shared


def _train(job: dict[str, Any]) -> int:
    """Be the process that ``python -m trainer <words>`` would be."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(said)
    os.environ.clear()
    os.environ.update(job["env"])
    time.tzset()
    os.chdir(job["cwd"])
    sys.path[0] = job["cwd"]
    program = importlib.import_module("trainer.__main__")
    sys.modules["__main__"] = program
    sys.argv = [str(program.__file__), *job["words"]]
    # Two trials would otherwise draw the same; torch begins with the same seed in every process.
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if (torch := sys.modules.get("torch")) and threads.isdecimal() and int(threads):
        torch.set_num_threads(int(threads))  # OpenMP has read the variable long ago
    from trainer.cli.command_line import main as trainer

    return trainer(job["words"])


def _ended(code: int) -> int:
    """End as Python does, but leave out taking all modules to pieces, which costs a second and copies the memory that
    is shared. Where an error ends the trial, Python itself does it all."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _tie_to_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent ends, so that no training goes on that nobody waits for."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
