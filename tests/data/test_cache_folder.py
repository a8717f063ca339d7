"""Folders that are whole or not there, and a cache that finds a place."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trainer.core.cache_folder import build_folder, cache_dir


def test_named_places(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_dir() == tmp_path / "a"
    monkeypatch.delenv("TRAINER_CACHE")
    assert cache_dir() == tmp_path / "b" / "openmmlab-trainer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache_dir() == tmp_path / "c" / ".cache" / "openmmlab-trainer"


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.delenv("TRAINER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    assert cache_dir().parent == tmp_path / "temp"


def test_failed_work_leaves_nothing(tmp_path):
    def fill(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        build_folder(tmp_path / "made", fill)
    assert list(tmp_path.iterdir()) == []


def test_built_once_and_replaced_whole(tmp_path):
    target = build_folder(tmp_path / "made", lambda folder: (folder / "a").write_text("1"))
    build_folder(target, lambda folder: pytest.fail("built again"))
    build_folder(target, lambda folder: (folder / "b").write_text("2"), replace=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "b"]


def test_the_first_of_two_builders_wins(tmp_path):
    def fill(folder: Path) -> None:
        (folder / "late").write_text("")
        build_folder(tmp_path / "made", lambda other: (other / "early").write_text(""))

    build_folder(tmp_path / "made", fill)
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "early"]


def test_left_overs_of_killed_processes_go_after_a_day(tmp_path):
    old, new = tmp_path / ".made.1.tmp", tmp_path / ".made.2.tmp"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    build_folder(tmp_path / "made", lambda folder: None)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("task", ["detection", "semantic_segmentation"])
def test_two_processes_prepare_at_once(cache, task):
    code = (
        "from trainer.schema import Dataset; from trainer.data.prepare import prepare\n"
        f"b = prepare(Dataset(name='digits', scenes=40, val_scenes=10), {task!r})\n"
        "assert all(s.ann_file.is_file() for s in b.splits.values()); print(b.fingerprint, b.train.ann_file)"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0] and len(set(said)) == 1
    left = [path.name for folder in (cache, cache / "prepared") for path in folder.iterdir()]
    assert not [name for name in left if name.startswith(".")] and len(left) == 3
