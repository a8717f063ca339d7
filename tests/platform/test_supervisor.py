"""A process that supervises another one: signals, orphans, an end in time. Each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The tests may run where SIGINT is ignored, in the background of a shell.
HEAD = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from trainer.platform import supervisor
from trainer.platform.supervisor import Supervisor, Terminated
here = Path(sys.argv[1])
child = [sys.executable, "-S", "-c"]
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script with ``HEAD`` before it; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def script(text: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + text, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield script
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path.name} isn't written"
        time.sleep(0.02)
    return path.read_text()


def test_exit_codes_come_back(start: Start) -> None:
    process = start("""
with Supervisor() as s:
    print(s.run([*child, "raise SystemExit(3)"], os.environ), s.run([*child, "pass"], os.environ),
          s.run([*child, "import os; os.kill(os.getpid(), 9)"], os.environ), s.stop.exit_code)
""")
    assert process.communicate(timeout=120)[0].split() == ["3", "0", "-9", "None"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_child_once_and_is_told(start: Start, tmp_path: Path, signum: int) -> None:
    process = start(f"""
code = '''
import signal, sys, time
from pathlib import Path
here = Path(sys.argv[1])
def stop(*a):
    with (here / "signals").open("a") as f: f.write("x")
    raise SystemExit(7)
signal.signal({signum}, stop)
(here / "ready").write_text("yes")
time.sleep(600)
'''
with Supervisor() as s:
    print(s.run([*child, code, str(here)], os.environ, lambda n: (here / "told").write_text(str(n))), s.stop.exit_code)
""")
    wait_for(tmp_path / "ready")
    process.send_signal(signum)
    assert process.communicate(timeout=120)[0].split() == ["7", str(128 + signum)]
    assert (tmp_path / "signals").read_text() == "x"
    assert (tmp_path / "told").read_text() == str(int(signum))


def test_a_child_that_does_not_end_in_time_is_killed_with_its_group(start: Start, tmp_path: Path) -> None:
    process = start("""
supervisor.STOP_SECONDS = 0.5
code = '''
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = os.fork()
if other:
    (Path(sys.argv[1]) / "ready").write_text(str(other))
time.sleep(600)
'''
with Supervisor() as s:
    print(s.run([*child, code, str(here)], os.environ), s.wait_for_orphans(60), s.stop.exit_code)
""")
    other = int(wait_for(tmp_path / "ready"))
    process.send_signal(signal.SIGTERM)
    code, _, exit_code = process.communicate(timeout=120)[0].split()
    assert (code, exit_code) == ("-9", "143")
    deadline = time.monotonic() + 60
    while alive(other):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process take in orphans")
def test_what_a_child_leaves_running_is_waited_for_and_reaped(start: Start, tmp_path: Path) -> None:
    process = start("""
code = '''
import os, sys, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()
    (Path(sys.argv[1]) / "orphan").write_text(str(os.getpid()))
    while not (Path(sys.argv[1]) / "go").exists():
        time.sleep(0.02)
    (Path(sys.argv[1]) / "done").write_text("yes")
'''
with Supervisor() as s:
    s.run([*child, code, str(here)], os.environ)
    print(s.wait_for_orphans(0.2), flush=True)
    (here / "go").touch()
    print(s.wait_for_orphans(600), (here / "done").exists())
""")
    orphan = int(wait_for(tmp_path / "orphan"))
    assert process.communicate(timeout=120)[0].split() == ["False", "True", "True"]
    assert not alive(orphan)


def test_a_signal_with_nothing_to_wait_for_ends_the_process_at_once(start: Start, tmp_path: Path) -> None:
    process = start("""
with Supervisor() as s:
    try:
        (here / "ready").write_text("yes")
        time.sleep(600)
    except Terminated:
        print("ended", s.stop.exit_code)
""")
    wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=120)[0].split() == ["ended", "143"]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")
