"""What became of a trial, read off its run directory, and the figures that it ended with."""

from __future__ import annotations

import json
import re
import signal
import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.secrets import mask_text
from trainer.runs.events.reader import events
from trainer.runs.run import Run
from trainer.sweep.objectives import PRIMARY

COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"
MEMORY = "memory"  # out of it: the trial can't be had on this machine
STOPPED = "stopped"  # somebody told the process to end; what it learned is saved
KILLED = "killed"  # gone without a word
BUSY = "busy"  # another process still has the run directory

_ENDS = {"finished": COMPLETE, "pruned": PRUNED, "failed": FAILED, "cancelled": STOPPED}
_STOPS = (130, 143, -signal.SIGINT, -signal.SIGTERM)
_KILLS = (137, -9)
_NO_MEMORY = re.compile(r"\bmemory\b|\bout of memory\b", re.IGNORECASE)
_HELD = re.compile(r"is training run \S+ \(")


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial's process ended. ``figures``: metrics of the best epoch, and what was measured."""

    kind: str
    error: str | None = None
    figures: dict[str, float] = field(default_factory=dict)
    epochs: int | None = None


def find_run(output_dir: Path, run_id: str) -> Run | None:
    """The run of that id, whatever its experiment; None as long as it hasn't begun."""
    for path in output_dir.glob(f"*/{run_id}/run.json"):
        if not path.parent.parent.is_symlink():
            return Run.open(path.parent)
    return None


def ended(run: Run | None, before: int = 0) -> TrialOutcome | None:
    """How the run's last attempt ended, if it has said how; None where there are no more than ``before``."""
    if run is None:
        return None
    try:
        attempts = run.facts["attempts"]
        attempt = attempts[-1]
        result = json.loads((run.dir / "result.json").read_bytes())
    except (OSError, ValueError, KeyError, IndexError):
        return None
    status = attempt.get("status")
    if len(attempts) <= before or status not in _ENDS or result.get("status") != status:
        return None
    error = result.get("error") or {}
    text = f"{error['type']}: {error['message']}" if error else None
    kind = _ENDS[status]
    if kind == FAILED and is_out_of_memory(text):
        kind = MEMORY
    return TrialOutcome(kind, text, figures(run, result), result.get("epochs_completed"))


def died(exit_code: int, said: str, out_of_memory: bool) -> TrialOutcome:
    """How a process ended that left no result.

    Args:
        said: what it printed.
        out_of_memory: whether the system has killed processes for want of memory meanwhile.
    """
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    error = mask_text(last)[:500]
    if exit_code in _STOPS:
        return TrialOutcome(STOPPED, f"its process was stopped by {_name(exit_code)}")
    if exit_code in _KILLS:
        return TrialOutcome(MEMORY if out_of_memory else KILLED, "its process was killed by SIGKILL")
    if _HELD.search(error):
        return TrialOutcome(BUSY, error)
    if is_out_of_memory(error):
        return TrialOutcome(MEMORY, error)
    if exit_code < 0:
        return TrialOutcome(
            FAILED, f"its process was ended by {_name(exit_code)}{f': {error}' if error else ''}"
        )
    return TrialOutcome(FAILED, error or f"its process ended with exit code {exit_code} and without a result")


def is_out_of_memory(error: str | None) -> bool:
    """Whether an error is for want of the GPU's or the machine's memory."""
    return bool(error and error.startswith("ResourceError") and _NO_MEMORY.search(error))


def memory_kills() -> int:
    """How many processes the system has killed for want of memory: of this container, else of the machine."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def figures(run: Run, result: dict[str, Any]) -> dict[str, float]:
    """Metrics of the epoch with the best primary one (which is ``primary`` too), ``parameters``,
    ``images_per_second`` of training, ``latency`` (milliseconds an image in validation), ``seconds`` of all
    attempts."""
    found = {name: value for name, value in (result.get("metrics") or {}).items() if _is_number(value)}
    primary = result.get("primary_metric") or {}
    if _is_number(primary.get("value")):
        found[str(primary["name"])] = found[PRIMARY] = primary["value"]
    if _is_number(result.get("duration_seconds")):
        found["seconds"] = result["duration_seconds"]
    batch, iterations, latencies = None, list[float](), list[float]()
    for event in events(run.events):
        kind = event["type"]
        if kind == "run_started":
            batch = event.get("batch_size") or batch
            if _is_number(event.get("parameters")):
                found["parameters"] = event["parameters"]
        elif kind == "train" and _is_number(event.get("seconds")):
            iterations.append(event["seconds"])
        elif kind == "validation" and _is_number(event.get("latency")):
            latencies.append(event["latency"])
    if batch and iterations and (seconds := statistics.median(iterations)) > 0:
        found["images_per_second"] = round(batch / seconds, 3)
    if latencies:
        found["latency"] = statistics.median(latencies)
    return {name: float(value) for name, value in found.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _name(exit_code: int) -> str:
    number = -exit_code if exit_code < 0 else exit_code - 128
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
