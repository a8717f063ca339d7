"""What a training takes of its machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.runs.events import reader
from trainer.runs.events.log import EventLog
from trainer.runs.events.system_metrics import SystemSampler, _tree, parse_gpus


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_this_process_and_its_children(tmp_path: Path) -> None:
    busy = "import time\nend = time.monotonic() + 30\nblock = b'x' * 50_000_000\nwhile time.monotonic() < end: pass"
    before = len(dict(_tree(os.getpid())))  # with those of other tests' fixtures
    child = subprocess.Popen([sys.executable, "-c", busy])
    sink = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        with EventLog(tmp_path / "e") as log, SystemSampler(log, tmp_path, seconds=0.2):
            until = time.monotonic() + 20
            while len(list(reader.events(tmp_path / "e"))) < 5 and time.monotonic() < until:
                time.sleep(0.05)
                log.flush()
        values = [event["values"] for event in reader.events(tmp_path / "e")][-1]
    finally:
        for process in (child, sink):
            process.kill()
            process.wait()
    # Those of another session, as the sinks are, are no part of the training.
    assert values["processes"] == before + 1
    assert values["cpu_percent"] > 5  # of a core; the machine may be busy with others
    assert values["memory_mb"] > 60
    assert 0 < values["machine_cpu_percent"] <= 100 and 0 < values["machine_memory_percent"] < 100
    assert values["disk_free_gb"] > 0


def test_only_the_gpus_that_may_be_used() -> None:
    told = "0, GPU-aa11, 87, 40123, 312.50, 61\n1, GPU-bb22, 0, 3, [N/A], 30\n"  # as nvidia-smi prints it
    everything = parse_gpus(told, None)
    assert everything["gpu_0_percent"] == 87 and everything["gpu_0_memory_mb"] == 40123
    assert everything["gpu_0_watts"] == 312.5 and everything["gpu_1_celsius"] == 30
    assert "gpu_1_watts" not in everything
    assert {key.split("_")[1] for key in parse_gpus(told, "1")} == {"1"}
    assert {key.split("_")[1] for key in parse_gpus(told, "GPU-aa11")} == {"0"}
    assert parse_gpus(told, "") == {}
