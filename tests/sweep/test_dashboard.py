"""optuna-dashboard on a sweep's storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.test_main import LR
from trainer.sweep.report.results import find_sweep

pytest.importorskip("optuna_dashboard")

# Its own main takes no port that the system chooses.
SERVE = """
import sys, optuna
from wsgiref.simple_server import make_server
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi
server = make_server("127.0.0.1", 0, wsgi(JournalStorage(JournalFileBackend(sys.argv[1]))))
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_the_dashboard_shows_the_study(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.run(tmp_path, LR, "sweep=optuna", "sweep.n_trials=3", "sweep.sampler=random")
    assert driver.poll() == 0, driver.output
    folder = find_sweep(None, tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder.journal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            (study,) = ask(port, "studies")["study_summaries"]
            assert study["study_name"] == folder.id

            def complete() -> Any:
                found = ask(port, f"studies/{study['study_id']}?after=0")["trials"]
                return found if [trial["state"] for trial in found] == ["Complete"] * 3 else None

            trials = wait_for(complete)
            told = {row["number"]: row["values"]["mAP50-95"] for row in folder.read_trials()}
            assert {trial["number"]: float(trial["values"][0]) for trial in trials} == pytest.approx(told)
            assert {trial["params"][0]["name"] for trial in trials} == {"optimizer.lr"}
        finally:
            server.kill()


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as answer:
        return json.load(answer)
