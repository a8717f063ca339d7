from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.runs.tracking_uri import with_credentials, without_credentials
from trainer.schema import Tracking
from trainer.tracking import tracking_uri, ui_command


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_default_is_a_file_in_output_dir(tmp_path, monkeypatch):
    assert tracking_uri(Tracking(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Tracking(), "runs") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracking_uri(Tracking(uri="sqlite:///x.db"), "runs") == f"sqlite:///{tmp_path}/x.db"


def test_the_environments_server_counts_unless_one_is_configured(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env:5000")
    assert tracking_uri(Tracking(), "runs") == "http://env:5000"
    assert tracking_uri(Tracking(uri="http://mine:5000"), "runs") == "http://mine:5000"


@pytest.mark.parametrize("uri", ["./mlruns", "/data/mlruns", "file:///data/mlruns"])
def test_a_folder_is_refused_with_what_to_write_instead(uri):
    with pytest.raises(ConfigError, match=r"tracking\.uri.*sqlite:///runs/mlflow\.db"):
        tracking_uri(Tracking(uri=uri), "runs")


def test_credentials_are_not_written_down(monkeypatch):
    full = "https://me:hunter2@host:5000/path"
    bare = without_credentials(full)
    assert bare == "https://host:5000/path"
    assert with_credentials(bare) == bare
    monkeypatch.setenv("MLFLOW_TRACKING_URI", full)
    assert with_credentials(bare) == full
    assert with_credentials("https://other:5000") == "https://other:5000"


def test_ui_command_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ui_command(Tracking(), "runs")
    program, rest = command.split(" ", 1)
    assert rest == "ui --backend-store-uri sqlite:///runs/mlflow.db"
    assert program == "mlflow" or Path(program).exists()
    assert ui_command(Tracking(uri="http://me:pw@host:5000"), "runs") == "http://host:5000"


def test_starting_the_sink_imports_nothing_heavy():
    code = "import sys, trainer.tracking; print({'mlflow', 'torch', 'mmengine', 'numpy'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
