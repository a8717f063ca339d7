"""What a training takes of its machine, as ``system`` events: sampled on a thread of its own, seldom."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from trainer.runs.events.log import EventLog

FIRST_SECONDS = 2.0
SECONDS = 10.0
# Of a run's length: the samples of a week are not many more than those of a day.
SHARE = 1 / 1000
_GPU_FIELDS = {
    "utilization.gpu": "percent",
    "memory.used": "memory_mb",
    "power.draw": "watts",
    "temperature.gpu": "celsius",
}


class SystemSampler:
    """While the block runs, emits ``system`` events about this process, its children and the machine.

    Reads ``/proc``; where there is none, only the load of this process is known.
    """

    def __init__(self, log: EventLog, folder: Path, seconds: float = SECONDS) -> None:
        self.log, self.folder, self.seconds = log, folder, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="system-sampler", daemon=True)

    def __enter__(self) -> SystemSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(1.0)

    def _sample_all(self) -> None:
        start, before = time.monotonic(), _clocks()
        gpus = shutil.which("nvidia-smi")
        pause = min(FIRST_SECONDS, self.seconds)
        while not self._stop.wait(pause):
            now = _clocks()
            values = {**_values(before, now), **_machine(self.folder), **(_gpus(gpus) if gpus else {})}
            before = now
            self.log.emit("system", values=values)
            pause = max(self.seconds, (time.monotonic() - start) * SHARE)


class _Clocks:
    """Seconds of processor time used so far, at a moment."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.processes = dict(_tree(os.getpid()))
        self.own = time.process_time()
        self.busy, self.total = _machine_clock()


def _clocks() -> _Clocks:
    return _Clocks()


def _values(before: _Clocks, now: _Clocks) -> dict[str, float]:
    wall = max(1e-3, now.at - before.at)
    if not now.processes:
        return {"cpu_percent": round(100 * (now.own - before.own) / wall, 1)}
    # A process that has ended in between took its clock with it: what it used since is not counted.
    used = sum(
        seconds - (before.processes[pid][0] if pid in before.processes else 0.0)
        for pid, (seconds, _) in now.processes.items()
    )
    values = {
        "cpu_percent": round(100 * max(0.0, used) / wall, 1),
        "memory_mb": round(sum(size for _, size in now.processes.values()) / 2**20, 1),
        "processes": float(len(now.processes)),
    }
    if now.total > before.total:
        values["machine_cpu_percent"] = round(100 * (now.busy - before.busy) / (now.total - before.total), 1)
    return values


def _tree(root: int) -> Iterator[tuple[int, tuple[float, int]]]:
    """A process and those below it in its session, which the sinks aren't: id, (processor seconds, resident bytes)."""
    try:
        tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    stack, session = [root], str(os.getsid(root))
    while stack:
        pid = stack.pop()
        folder = Path("/proc") / str(pid)
        try:
            # After the name, which is in brackets and may hold anything: state is field 3 of proc(5).
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children = [
                int(child) for path in folder.glob("task/*/children") for child in path.read_text().split()
            ]
        except (OSError, ValueError):
            continue  # ended meanwhile, or no /proc
        if fields[3] != session:
            continue
        stack += children
        yield pid, ((int(fields[11]) + int(fields[12])) / tick, int(fields[21]) * page)


def _machine_clock() -> tuple[float, float]:
    """Ticks in which the machine's processors were busy, and all ticks."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    return float(sum(ticks) - ticks[3] - ticks[4]), float(sum(ticks))


def _machine(folder: Path) -> dict[str, float]:
    values = {}
    with suppress(OSError, ValueError, KeyError, IndexError, ZeroDivisionError):
        lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        memory = {name: int(text.split()[0]) for name, _, text in lines}
        values["machine_memory_percent"] = round(100 * (1 - memory["MemAvailable"] / memory["MemTotal"]), 1)
    with suppress(OSError):
        values["disk_free_gb"] = round(shutil.disk_usage(folder).free / 1e9, 2)
    return values


def _gpus(program: str) -> dict[str, float]:
    """Of every GPU that this process may use."""
    command = [program, f"--query-gpu=index,uuid,{','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5.0, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_gpus(told, os.environ.get("CUDA_VISIBLE_DEVICES"))


def parse_gpus(told: str, visible: str | None) -> dict[str, float]:
    """``nvidia-smi``'s lines as values; ``visible`` is CUDA_VISIBLE_DEVICES, None for all."""
    chosen = None if visible is None else [word.strip() for word in visible.split(",")]
    values = {}
    for line in told.splitlines():
        index, uuid, *texts = (part.strip() for part in line.split(","))
        if chosen is not None and not any(
            word == index or (word and uuid.startswith(word)) for word in chosen
        ):
            continue
        for name, text in zip(_GPU_FIELDS.values(), texts, strict=False):
            try:
                values[f"gpu_{index}_{name}"] = float(text)
            except ValueError:
                continue  # [N/A]
    return values
