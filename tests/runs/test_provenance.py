"""Versions, git and hardware of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trainer
from trainer.runs import provenance


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_versions_without_importing_the_packages() -> None:
    found = provenance.versions()
    assert found["trainer"] == trainer.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "numpy"} <= found.keys()
    code = "import sys, trainer.runs.provenance as p; p.provenance(); print({'torch', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout
        == "set()\n"
    )


def test_git(tmp_path: Path) -> None:
    assert provenance.git(provenance.repository(tmp_path)) is None
    git(tmp_path, "init", "-b", "trunk")
    (tmp_path / "a.txt").write_text("1")
    empty = provenance.git(provenance.repository(tmp_path))
    assert empty is not None and empty["commit"] is None and empty["branch"] == "trunk"
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-m", "one")
    (tmp_path / "untracked").mkdir()
    commit = git(tmp_path, "rev-parse", "HEAD")
    clean = {"commit": commit, "dirty": False, "changes": None, "branch": "trunk", "root": str(tmp_path)}
    assert provenance.git(provenance.repository(tmp_path / "untracked")) == clean
    digests = set()
    for text in ("2", "3", "2"):
        (tmp_path / "a.txt").write_text(text)
        changed = provenance.git(tmp_path)
        assert changed is not None and changed["dirty"] and changed["commit"] == commit
        digests.add(changed["changes"])
    assert len(digests) == 2 and None not in digests
    git(tmp_path, "checkout", "--detach", "-q")
    detached = provenance.git(tmp_path)
    assert detached is not None and detached["branch"] is None


def test_git_that_is_missing_or_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()  # no repository, so git refuses
    assert provenance.git(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert provenance.git(tmp_path) is None


def test_hardware() -> None:
    found = provenance.hardware()
    assert found["cpu"] and found["cores"] >= 1 and found["memory_gb"] > 0.1
    assert all(isinstance(name, str) and name for name in found["gpus"])


def test_differences() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None, "gone": "x"}
    after = {"a": {"b": 2, "c": [1, 2]}, "d": None, "new": {"e": 1}}
    assert provenance.differences(before, after) == {
        "a.b": [1, 2],
        "gone": ["x", None],
        "new": [None, {"e": 1}],
    }
    assert provenance.differences(before, before) == {}
