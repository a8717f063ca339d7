"""``launcher=torchrun``: two processes of this machine, and two "machines" on addresses of its loopback."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from tests.launch.contract import ROOT, TRAINING, LauncherContract, Site, events, until
from trainer.launch import launcher_registry
from trainer.launch.job_status import JobNotes
from trainer.launch.job_store import all_jobs, find_job

FEW = (*TRAINING, "runtime.epochs=2", "tracking=none")


class TestTorchrun(LauncherContract):
    words: ClassVar[list[str]] = ["launcher=torchrun", "launcher.nproc=2"]

    def look_at_run(self, run: Path) -> None:
        log = events(run, "run_started")
        assert len({event["run_id"] for event in log}) == 1
        assert len(json.loads((run / "run.json").read_text())["attempts"]) == len(log)

    @pytest.mark.slow
    def test_killed_process_is_started_again_from_the_checkpoint(self, site: Site) -> None:
        """On a terminal, whose table the first process has; its Ctrl-C reaches each process once."""
        controller, terminal = pty.openpty()
        words = (*TRAINING, "tracking=none", "id=two", "name=again", f"output_dir={site.output}")
        with subprocess.Popen(
            [sys.executable, "-m", "trainer", *words, *self.words, "launcher.max_restarts=1"],
            cwd=site.output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        ) as process:
            os.close(terminal)
            said = Said(controller)
            run, folder = site.output / "again" / "two", site.output / ".launched" / "two"
            until(lambda: events(run, "checkpoint"), said)
            os.kill(JobNotes(folder, 1).last["pid"], signal.SIGKILL)
            until(lambda: events(run, "resumed"), said)
            assert len(JobNotes(folder, 0).attempts) == len(JobNotes(folder, 1).attempts) == 2
            launched = find_job(site.output, "two")
            assert str(launched.handle) == f"local:{process.pid}"
            assert site.status(launched).state == "running"
            until(lambda: len(events(run, "train")) > 2, said)
            os.kill(process.pid, signal.SIGINT)
            until(lambda: said() and process.poll() is not None, said)
            assert process.returncode == 130, said()
        os.close(controller)
        assert len(events(run, "cancelled")) == 1 and events(run, "cancelled")[0]["saved"]
        assert site.status(launched).state == "cancelled"
        assert "\x1b[" in said() and "Traceback" not in said()

    def test_failure_is_the_trainers_own(self, site: Site) -> None:
        """The second process hears of it from the first; neither torchrun's traceback nor its exit code is seen."""
        done = site.trainer("dataset=coco", "dataset.path=missing", *self.words, "runtime.device=cpu")
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr.count("DatasetError: ") == 1 and "ChildFailedError" not in done.stderr
        status = site.status(all_jobs(site.output)[-1])
        assert (status.state, status.exit_code) == ("failed", 1)
        assert "DatasetError" in (status.reason or "") and "missing" in (status.reason or "")


@pytest.mark.slow
def test_two_machines_meet(tmp_path: Path) -> None:
    """One command on each, the same but for the address; one run, of whichever has the first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *(*FEW, f"output_dir={tmp_path}", "launcher=torchrun", "launcher.nodes=2", "launcher.nproc=1"),
        *(f"launcher.rdzv_endpoint=127.0.0.1:{port}", "launcher.rdzv_id=pair", "name=met"),
    ]
    started = []
    for node in range(2):
        said = (tmp_path / f"node-{node}.log").open("wb")
        own = [f"launcher.node_rank={node}", f"launcher.local_addr=127.0.0.{node + 1}"]
        with said:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "trainer", *words, *own],
                    cwd=tmp_path,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            )
    try:
        until(lambda: all(one.poll() is not None for one in started))
        told = "\n".join((tmp_path / f"node-{node}.log").read_text() for node in range(2))
        assert [one.returncode for one in started] == [0, 0], told
    finally:
        for one in started:
            one.kill()
    run = tmp_path / "met" / "rtmdet-tiny-pair"
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    assert [path.name for path in (tmp_path / "met").iterdir()] == [run.name]
    assert len(events(run, "run_started")) == 1
    states = [launcher_registry.launcher_of(one).status(one) for one in all_jobs(tmp_path)]
    assert [(one.state, one.run_id) for one in states] == [("finished", run.name)] * 2


class Said:
    """What came to a terminal so far."""

    def __init__(self, controller: int) -> None:
        os.set_blocking(controller, False)
        self._controller, self._text = controller, b""

    def __call__(self) -> str:
        try:
            while chunk := os.read(self._controller, 1 << 16):
                self._text += chunk
        except OSError:  # nothing more for now, or the terminal's other end is closed
            pass
        return self._text.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "launcher.rdzv_endpoint is missing"),
        (["launcher.rdzv_endpoint=a:1"], "launcher.rdzv_id is missing"),
        (
            ["launcher.rdzv_endpoint=a:1", "launcher.rdzv_id=x", "launcher.rdzv_backend=static"],
            "launcher.node_rank is missing",
        ),
    ],
)
def test_what_several_machines_need_is_told_before(words: list[str], expected: str) -> None:
    from trainer.config.compose import compose
    from trainer.core.errors import ConfigError

    with pytest.raises(ConfigError, match=expected):
        compose("train", ["launcher=torchrun", "launcher.nodes=2", *words])
