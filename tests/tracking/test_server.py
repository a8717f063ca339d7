"""The sink and a real MLflow server that dies and comes back."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import pytest

from trainer.cli.command_line import main
from trainer.schema import Tracking
from trainer.tracking import mlflow_run_id, start_sink
from trainer.tracking.mlflow_state import load

CLASSES = 1100


@pytest.mark.slow
def test_a_server_away_at_start_killed_stuck_and_away_at_the_end_has_all_of_it_once(
    tmp_path, make_run, log, monkeypatch, caplog
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    run = make_run(None, "outage", [log.started(), *log.epoch(1)])

    # Away at the start: training has begun, the sink waits.
    handle = start_sink(run, Tracking(uri=uri), "runs")
    _until(lambda: load(run.dir).error)
    assert load(run.dir).offset == 0 and handle.processes["mlflow"].poll() is None
    with _server(tmp_path, port) as server:
        _until(lambda: load(run.dir).offset == run.events.stat().st_size)
        # Killed in the middle of so many values that they take several calls.
        for epoch in (2, 3):
            log.append(run.dir, [*log.epoch(epoch), _wide(epoch), _wide(epoch + 10)])
        time.sleep(1.2)
        os.killpg(server.pid, signal.SIGKILL)
    log.append(run.dir, [*log.epoch(4), _wide(4)])
    _until(lambda: load(run.dir).error)
    assert handle.processes["mlflow"].poll() is None
    with _server(tmp_path, port) as server:
        _until(lambda: not load(run.dir).error and load(run.dir).offset == run.events.stat().st_size)
        # So slow that nothing is answered in time.
        os.killpg(server.pid, signal.SIGSTOP)
        log.append(run.dir, log.epoch(5))
        _until(lambda: load(run.dir).error)
        os.killpg(server.pid, signal.SIGCONT)
        _until(lambda: load(run.dir).offset == run.events.stat().st_size)
    # Away at the end: one warning that says how to catch up; then the machine goes down.
    log.append(run.dir, [*log.epoch(6), {"type": "finished", "iter": 60}])
    with caplog.at_level(logging.WARNING):
        assert not handle.wait(0.5)
    assert len(caplog.records) == 1 and "sink=mlflow" in caplog.text
    handle.processes["mlflow"].kill()
    handle.processes["mlflow"].wait()
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")  # from here on it's slow for want of processors only
    with _server(tmp_path, port):
        assert main(["replay", str(run.dir), "sink=mlflow"]) == 0
        before = _everything(uri, run)
        assert main(["replay", str(run.dir), "sink=mlflow"]) == 0
        assert _everything(uri, run) == before
    status, steps, wide, artifacts, runs = before
    assert (status, runs) == ("FINISHED", 1)
    assert steps["train/loss"] == list(range(1, 61))
    assert steps["mAP50-95"] == steps["epoch/loss"] == [1, 2, 3, 4, 5, 6]
    assert wide == {f"per_class/c{i}/IoU": 13 + i for i in range(CLASSES)}
    assert steps["per_class/c0/IoU"] == steps[f"per_class/c{CLASSES - 1}/IoU"] == [2, 3, 4, 12, 13]
    assert artifacts == ["checkpoints/best.pth", "checkpoints/last.pth"]


def _wide(epoch):
    per_class = {f"c{i}": {"IoU": float(epoch + i)} for i in range(CLASSES)}
    return {"type": "validation", "epoch": epoch, "metrics": {}, "per_class": per_class}


@contextmanager
def _server(folder, port):
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "up"),
    ]
    with (folder / "server.log").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        _until(lambda: _healthy(port), 90)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _everything(uri, run):
    from mlflow import MlflowClient

    client, run_id = MlflowClient(tracking_uri=uri), mlflow_run_id(run.dir)
    found = client.get_run(run_id)
    names = ("train/loss", "epoch/loss", "mAP50-95", "per_class/c0/IoU", f"per_class/c{CLASSES - 1}/IoU")
    steps = {name: sorted(m.step for m in client.get_metric_history(run_id, name)) for name in names}
    wide = {key: value for key, value in found.data.metrics.items() if key.endswith("/IoU")}
    artifacts = [artifact.path for artifact in client.list_artifacts(run_id, "checkpoints")]
    return found.info.status, steps, wide, artifacts, len(client.search_runs([found.info.experiment_id]))


def _until(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)
