"""A run's directory and its names."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.runs.run import Run, run_environment


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
        "import sys\nfrom trainer.runs.run import Run\n"
        "import trainer.runs.events.log, trainer.runs.events.console, trainer.runs.result\n"
        f"Run.create(sys.argv[1], 'e', 'm')\nassert not [m for m in {heavy} if m in sys.modules]"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": root}
    )


def test_an_id_of_ones_own(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "e", "m", "night-3")
    assert run.dir == tmp_path / "e" / "night-3" and Run.find(tmp_path, "latest") == run
    with pytest.raises(ConfigError, match="resume=auto goes on with it"):
        Run.create(tmp_path, "e", "m", "night-3")
    assert Run.create(tmp_path, "other", "m", "night-3").dir != run.dir
    with pytest.raises(ConfigError, match="such as id=a-b"):
        Run.create(tmp_path, "e", "m", "a/b")
    (tmp_path / "e" / "cut").mkdir()  # a kill before run.json was written
    assert Run.create(tmp_path, "e", "m", "cut").exists


def test_who_it_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in run_environment({"parent": "sweep-1", "trial": "3", "label": "lr=0.1"}).items():
        monkeypatch.setenv(name, value)
    run = Run.create(tmp_path, "e", "m")
    monkeypatch.delenv("TRAINER_PARENT")
    monkeypatch.setenv("TRAINER_JOB", "17")
    run.start_attempt()  # resumed by hand, or by another scheduler: still the trial that it was
    facts = run.facts
    assert [facts[name] for name in ("parent", "trial", "label", "job")] == ["sweep-1", 3, "lr=0.1", "17"]


def test_an_attempt_says_with_what_and_where(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "e", "m")
    run.start_attempt()
    facts = run.facts
    assert {"versions", "git", "trainer_git", "hardware"} <= facts.keys() and list(facts)[-1] == "attempts"
    (attempt,) = facts["attempts"]
    assert (attempt["host"], attempt["changed"]) == (socket.gethostname(), {})
    assert attempt["versions"]["torch"] == facts["versions"]["torch"]
