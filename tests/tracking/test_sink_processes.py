"""The sink as a process beside a training: no server can hold the training up, no kill loses anything."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from trainer.schema import Tracking
from trainer.tracking import mlflow_run_id, start_sink, sync
from trainer.tracking.mlflow_state import load
from trainer.tracking.sink_processes import log_file


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_nothing_is_started_without_tracking(make_run):
    handle = start_sink(make_run(None), Tracking(name="none"), "runs")
    assert not handle.processes and handle.wait(0) and not handle.facts


def test_of_several_processes_only_the_first_tells(make_run, database, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    handle = start_sink(make_run(database, "ranks"), Tracking(uri=database, tensorboard=True), "runs")
    assert not handle.processes


def test_tensorboard_alone(make_run, log):
    run = make_run(None, "tb", [])
    handle = start_sink(run, Tracking(name="none", tensorboard=True), "runs")
    log.append(run.dir, [log.started(), *log.epoch(1), {"type": "finished"}])
    assert handle.wait(30)
    assert {name: process.returncode for name, process in handle.processes.items()} == {"tensorboard": 0}
    [file] = (run.dir / "tensorboard").iterdir()
    assert b"per_class/one/mAP50" in file.read_bytes()
    assert "mlflow" not in log_file(run.dir, "tensorboard").read_text()


def test_follows_a_run_to_its_end(make_run, log, database):
    run = make_run(database, "followed", [log.started(), *log.epoch(1)])
    handle = start_sink(run, Tracking(uri=database), "runs", experiment="named")
    _until(lambda: mlflow_run_id(run.dir))
    log.append(run.dir, log.epoch(2))
    _until(lambda: load(run.dir).offset == run.events.stat().st_size)
    assert handle.processes["mlflow"].poll() is None
    log.append(run.dir, [*log.epoch(3), {"type": "finished"}])
    assert handle.wait(30)
    assert handle.facts == {"mlflow_run_id": mlflow_run_id(run.dir)}
    status, steps = _told(database, run)
    assert (status, steps) == ("FINISHED", [1, 2, 3])
    assert sync(run.dir).experiment == "named"


def test_an_earlier_attempts_last_word_does_not_end_it(make_run, log, database):
    run = make_run(database, "attempts", [log.started(), *log.epoch(1), {"type": "cancelled"}])
    handle = start_sink(run, Tracking(uri=database), "runs")
    _until(lambda: load(run.dir).offset == run.events.stat().st_size)
    time.sleep(1.5)
    assert handle.processes["mlflow"].poll() is None
    log.append(run.dir, [log.started(), {"type": "resumed", "epoch": 1}, *log.epoch(2), {"type": "failed"}])
    assert handle.wait(30)
    assert _told(database, run) == ("FAILED", [1, 2])


def test_no_server_delays_nothing_and_says_how_to_catch_up(make_run, database, caplog):
    run = make_run(None, "alone")
    before = time.monotonic()
    handle = start_sink(run, Tracking(uri="http://127.0.0.1:9"), "runs")  # Nobody listens there.
    assert time.monotonic() - before < 1
    _until(lambda: load(run.dir).error)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        before = time.monotonic()
        assert not handle.wait(0.5)
    assert time.monotonic() - before < 1.5
    assert len(caplog.records) == 1
    assert f"replay {run.dir} sink=mlflow" in caplog.text
    handle.processes["mlflow"].kill()
    handle.processes["mlflow"].wait()
    assert sync(run.dir, uri=database).error is None
    assert _told(database, run) == ("FINISHED", [1, 2, 3])


def test_a_killed_training_is_told_as_killed(make_run, log, database):
    """The training process dies without a last word; Ctrl-C in its terminal doesn't reach the sink."""
    run = make_run(database, "killed", [log.started(), *log.epoch(1)])
    code = (
        "import sys, time\n"
        "from trainer.runs.run import Run\nfrom trainer.schema import Tracking\n"
        "from trainer.tracking import start_sink\n"
        "handle = start_sink(Run.open(sys.argv[1]), Tracking(uri=sys.argv[2]), 'runs')\n"
        "print(handle.processes['mlflow'].pid, flush=True)\n"
        "time.sleep(60)"
    )
    training = subprocess.Popen(
        [sys.executable, "-c", code, str(run.dir), database], stdout=subprocess.PIPE, start_new_session=True
    )
    sink = int(training.stdout.readline())
    assert os.getsid(sink) != os.getsid(training.pid)
    # Ctrl-C goes to the whole group of the terminal's job; SIGKILL spares nobody in it either.
    os.killpg(training.pid, signal.SIGINT)
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    _until(lambda: (state := load(run.dir)) and (state.status_told or "").startswith("KILLED"), seconds=60)
    assert _told(database, run) == ("KILLED", [1])


def test_credentials_stay_in_the_environment(make_run):
    run = make_run(None, "secret", [])
    handle = start_sink(run, Tracking(uri="http://me:hunter2@127.0.0.1:9"), "runs")
    try:
        arguments = " ".join(handle.processes["mlflow"].args)
        _until(lambda: load(run.dir).error)
        assert "hunter2" not in arguments
        for file in (run.dir / "sinks").iterdir():
            with suppress(FileNotFoundError):  # it writes on, by files that change their names
                assert "hunter2" not in file.read_text(), file
        assert log_file(run.dir).read_text()
    finally:
        handle.processes["mlflow"].kill()
        handle.processes["mlflow"].wait()


def _until(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)


def _told(uri, run):
    from mlflow import MlflowClient

    client, run_id = MlflowClient(tracking_uri=uri), mlflow_run_id(run.dir)
    steps = sorted(metric.step for metric in client.get_metric_history(run_id, "mAP50-95"))
    return client.get_run(run_id).info.status, steps
