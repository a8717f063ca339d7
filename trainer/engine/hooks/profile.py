"""A torch profile of a few iterations: ``debug=profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from trainer.core.atomic_files import atomic_write
from trainer.runs.events.log import EventLog

SKIP, WARM_UP, MEASURED = 2, 1, 5


class ProfileHook(Hook):
    """Writes ``profile/trace.json`` (for chrome://tracing) and ``operators.txt`` after eight iterations."""

    priority = "VERY_LOW"

    def __init__(self, folder: Path, log: EventLog) -> None:
        self.folder, self.log = folder, log
        self._profiler: torch.profiler.profile | None = None

    def before_train(self, runner: Any) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(
            activities=activities,
            schedule=torch.profiler.schedule(wait=SKIP, warmup=WARM_UP, active=MEASURED, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
        )
        self._profiler.start()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self._profiler is not None:
            self._profiler.step()

    def after_train(self, runner: Any) -> None:
        if self._profiler is not None:
            self._profiler.stop()

    def _write(self, profiler: torch.profiler.profile) -> None:
        self.folder.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json"))
        key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        atomic_write(self.folder / "operators.txt", profiler.key_averages().table(sort_by=key, row_limit=40))
        for name in ("trace.json", "operators.txt"):
            self.log.emit("artifact", path=f"{self.folder.name}/{name}", kind="profile")
