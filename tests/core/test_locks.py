"""A lock between processes, freed by death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainer.core.errors import ResourceError
from trainer.core.locks import LockHeld, locked
from trainer.runs.run import Run

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from trainer.core.locks import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(60)  # as a data loader's process, which outlives a killed parent for a while
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_this_one_dies(tmp_path: Path) -> None:
    lock = tmp_path / "e" / "one" / "lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
    ) as other:
        try:
            assert other.stdout and other.stdout.readline() == "held\n"
            with pytest.raises(LockHeld, match=f"process {other.pid} on "), locked(lock):
                pass
            other.send_signal(signal.SIGKILL)
            other.wait()
            with locked(lock):  # though its child is still there
                assert str(os.getpid()) in lock.read_text() or os.name == "nt"
        finally:
            os.killpg(other.pid, signal.SIGKILL)


def test_a_run_that_is_trained_is_refused_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.runs.run.LOCK_SECONDS", 0.1)
    run = Run.create(tmp_path, "e", "m")
    with (
        run.held(),
        pytest.raises(ResourceError, match=f"process {os.getpid()}.*is training run {run.id}"),
        run.held(),
    ):
        pass
    with run.held():
        pass


def test_changes_of_two_at_once_are_both_kept(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "e", "m")
    threads = [
        threading.Thread(target=lambda n=n: [run.update(**{f"{n}-{i}": i}) for i in range(10)]) for n in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"{n}-{i}" for n in "abc" for i in range(10)} <= run.facts.keys()
