"""Trials' processes, started cold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweep.drivers import wait_for
from trainer.sweep.driver.trial_process import ColdChild, ColdLauncher

SAY = "import os, sys; print(sys.argv[1:], os.environ['TOLD'], os.getsid(0) == os.getpid(), os.getcwd())"
WAIT = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
DRIVER = """
import pathlib, sys, time
from trainer.sweep.driver.trial_process import ColdLauncher
folder = pathlib.Path(sys.argv[1])
child = ColdLauncher([sys.executable, "-c", sys.argv[2]]).run([str(folder / "begun")], {}, folder / "log")
(folder / "pid").write_text(str(child.pid))
time.sleep(600)
"""


def end(child: ColdChild) -> int:
    until = time.monotonic() + 120
    while (code := child.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return code


def test_it_gets_words_variables_and_a_session_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "trials" / "0.log"
    cold = ColdLauncher([sys.executable, "-c", SAY])
    for _ in range(2):
        assert end(cold.run(["a=1", "b c"], {"TOLD": "yes"}, log, tmp_path)) == 0
    assert log.read_text() == f"['a=1', 'b c'] yes True {tmp_path}\n" * 2


def test_signals_and_ends(tmp_path: Path) -> None:
    cold = ColdLauncher([sys.executable, "-c", WAIT])
    child = cold.run([str(tmp_path / "begun")], {}, tmp_path / "log")
    wait_for((tmp_path / "begun").exists)
    assert child.poll() is None
    child.signal(signal.SIGKILL)
    assert end(child) == -signal.SIGKILL
    child.signal(signal.SIGTERM)  # nobody is there: nothing happens
    missing = ColdLauncher([str(tmp_path / "nothing")]).run([], {}, tmp_path / "log")
    assert end(missing) == 1 and "nothing: No such file" in (tmp_path / "log").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a signal at the parent's death is Linux's")
def test_a_trial_is_told_to_stop_when_its_driver_is_killed(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", DRIVER, str(tmp_path), WAIT]
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root})
    try:
        wait_for((tmp_path / "begun").exists)
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        driver.kill()
        driver.wait()
    pid = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        try:
            return b"time.sleep(600)" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return True

    wait_for(gone)
