"""A run's directory and its names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.errors import ConfigError
from trainer.run import Run


def test_create(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "digits-detection", "rtmdet-s")
    assert re.fullmatch(r"rtmdet-s-\d{8}-\d{6}-[0-9a-f]{4}", run.id)
    assert run.dir == tmp_path / "digits-detection" / run.id and run.dir.is_dir()
    facts = json.loads((run.dir / "run.json").read_text())
    assert (facts["id"], facts["experiment"], facts["attempts"]) == (run.id, "digits-detection", [])
    assert (tmp_path / "latest").resolve() == run.dir
    assert not (tmp_path / "latest").readlink().is_absolute()  # the folder can be moved


def test_names_that_are_no_folder_names(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "../a b", "mmdet/rtmdet/rtmdet_s")
    assert run.dir.parents[1] == tmp_path and run.id.startswith("mmdet-rtmdet-rtmdet_s-")


def test_two_at_once_are_two(tmp_path: Path) -> None:
    assert len({Run.create(tmp_path, "e", "m").id for _ in range(20)}) == 20


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Run.create(tmp_path, "e", "yolo"), Run.create(tmp_path, "e", "rtmdet")
    for ref in (second.dir, second.id, "latest", "rtm", f"e/{second.id}"):
        assert Run.find(tmp_path, ref) == second
    monkeypatch.chdir(tmp_path / "e")
    assert Run.find("elsewhere", first.id) == first  # a folder, relative to where one is
    assert Run.newest(tmp_path, "e") == second
    assert Run.newest(tmp_path, "other") is None


def test_find_nothing_names_the_nearest(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "e", "rtmdet")
    with pytest.raises(ConfigError, match=f"Did you mean '{run.id}'"):
        Run.find(tmp_path, run.id.replace("rtmdet", "rtmdat"))
    Run.create(tmp_path, "e", "rtmdet")
    with pytest.raises(ConfigError, match="could be any of"):
        Run.find(tmp_path, "rtm")
    with pytest.raises(ConfigError, match="no runs"):
        Run.find(tmp_path / "empty", "x")
    with pytest.raises(ConfigError, match="no run yet"):
        Run.find(tmp_path / "empty", "latest")


def test_latest_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(os, "symlink", refused)
    run = Run.create(tmp_path, "e", "m")
    assert (tmp_path / "latest").read_text() == f"e/{run.id}\n"
    assert Run.find(tmp_path, "latest") == run
    monkeypatch.undo()
    newer = Run.create(tmp_path, "e", "m")
    assert Run.find(tmp_path, "latest") == newer


def test_open_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        Run.open(tmp_path)


def test_update_and_attempts(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "e", "m")
    run.update(task="detection")
    run.start_attempt()  # killed
    run.start_attempt()
    run.end_attempt("finished")
    facts = Run.open(run.dir).facts
    assert facts["task"] == "detection" and facts["id"] == run.id
    assert [(one["status"], one["pid"]) for one in facts["attempts"]] == [
        ("killed", os.getpid()),
        ("finished", os.getpid()),
    ]
    assert facts["attempts"][1]["ended"] >= facts["attempts"][1]["started"]


def test_needs_no_torch(tmp_path: Path) -> None:
    heavy = ["torch", "mmengine", "mlflow", "numpy"]
    program = (
        "import sys\nfrom trainer.run import Run\n"
        "import trainer.events.log, trainer.events.console, trainer.engine.result\n"
        f"Run.create(sys.argv[1], 'e', 'm')\nassert not [m for m in {heavy} if m in sys.modules]"
    )
    root = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": root}
    )
