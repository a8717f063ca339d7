"""Processes by their identity, started in the background, killed with all below them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.core.processes import (
    ProcessIdentity,
    descendants,
    kill_tree,
    start_in_background,
    start_ticks,
    started_at,
)

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@linux_only
def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = ProcessIdentity.of(child.pid)
    until(lambda: started_at(child.pid) is None)  # nobody has waited for it
    assert not identity.is_running() and start_ticks(child.pid) is None
    child.wait()
    assert not ProcessIdentity.of(child.pid).is_running()


@linux_only
def test_it_is_in_a_session_of_its_own_and_its_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "new folder" / "log"
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read()); print('error', file=sys.stderr)"
    for _ in range(2):
        assert start_in_background([sys.executable, "-c", code], log=log).wait() == 0
    assert sorted(log.read_text().split()) == ["True", "True", "error", "error"]


@linux_only
def test_it_is_stopped_when_its_parent_ends(tmp_path: Path) -> None:
    code = (
        "from trainer.core.processes import start_in_background\n"
        "child = start_in_background(['sleep', '60'], stop_with_parent=True)\n"
        "print(child.pid, flush=True)\n"
        "import time\n"
        "from pathlib import Path\n"
        "while b'sleep' not in Path(f'/proc/{child.pid}/cmdline').read_bytes()[:6]: time.sleep(0.01)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    until(lambda: started_at(int(done.stdout)) is None)


@linux_only
def test_a_whole_tree_is_killed() -> None:
    parent = start_in_background(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    until(lambda: len(descendants(parent.pid)) == 2)
    below = [ProcessIdentity.of(pid) for pid in descendants(parent.pid)]
    kill_tree(parent.pid)
    assert parent.wait() < 0
    until(lambda: not any(process.is_running() for process in below))
    assert os.getpid() in descendants(os.getppid())
