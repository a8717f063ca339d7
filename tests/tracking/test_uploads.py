"""Files on their way to MLflow: each content once, none in the way of the metrics."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from trainer.tracking import uploads
from trainer.tracking.mlflow_state import MlflowState
from trainer.tracking.uploads import ArtifactUploads


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name in ("a.txt", "plots/x.png", "plots/deep/y.png", "checkpoints/best.pth"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(name)
    (tmp_path / "secret.txt").write_text("x")
    return tmp_path / "run"


class Store:
    """Keeps what was sent; fails or waits on demand."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.errors: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, file: Path, folder: str | None) -> None:
        assert self.gate.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((f"{folder}/{file.name}" if folder else file.name, file.read_text()))


def test_files_and_folders_once_for_each_content(run_dir: Path) -> None:
    store, state = Store(), MlflowState()
    one = ArtifactUploads(run_dir, state, store)
    one.add("a.txt", "plots", "nowhere.txt", "../secret.txt", str(run_dir.parent / "secret.txt"))
    one.drain()
    assert [name for name, _ in store.sent] == ["a.txt", "plots/deep/y.png", "plots/x.png"]
    one.add("a.txt", "plots")
    assert state.pending == [] and len(state.artifacts) == 3
    (run_dir / "a.txt").write_text("new content")
    one.add("a.txt", "plots")
    one.drain()
    assert store.sent[3:] == [("a.txt", "new content")]


def test_a_long_one_holds_up_nothing_and_is_sent_as_it_was(run_dir: Path, monkeypatch) -> None:
    """A checkpoint that is replaced while a store reads it: the second name keeps the old content."""
    monkeypatch.setattr(uploads, "BEAT_SECONDS", 0.05)
    store, state = Store(), MlflowState()
    store.gate.clear()
    one = ArtifactUploads(run_dir, state, store)
    one.add("checkpoints/best.pth")
    start = time.monotonic()
    assert one.beat() is None and state.pending == ["checkpoints/best.pth"]
    assert time.monotonic() - start < 5
    (run_dir / "new").write_text("better")
    os.replace(run_dir / "new", run_dir / "checkpoints" / "best.pth")
    store.gate.set()
    one.drain()
    assert store.sent == [("checkpoints/best.pth", "checkpoints/best.pth")] + [
        ("checkpoints/best.pth", "better")
    ]
    assert not list((run_dir / "sinks").iterdir())


def test_what_changes_all_the_time_is_uploaded_now_and_then(run_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(uploads, "BEAT_SECONDS", 0.05)
    store, state = Store(), MlflowState()

    def slow(file: Path, folder: str | None) -> None:
        time.sleep(0.2)
        store(file, folder)

    one = ArtifactUploads(run_dir, state, slow)
    for number in range(10):
        (run_dir / "a.txt").write_text("x" * number)
        one.add("a.txt")
        one.beat()
    assert len(store.sent) <= 2
    one.drain()
    assert store.sent[-1][1] == "x" * 9


def test_an_error_is_told_and_tried_again_later(run_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(uploads, "BEAT_SECONDS", 0.05)
    store, state = Store(), MlflowState()
    store.errors = [OSError("no space left")]
    one = ArtifactUploads(run_dir, state, store)
    one.add("a.txt", "plots/x.png")
    assert "no space left" in str(one.beat())
    assert one.beat() is None and [name for name, _ in store.sent] == ["plots/x.png"]
    store.errors = [OSError("again")]
    with pytest.raises(OSError, match="again"):
        one.drain()
    one.drain()
    assert state.pending == [] and len(store.sent) == 2


def test_what_was_pending_at_a_kill_is_pending_still(run_dir: Path) -> None:
    state = MlflowState()
    ArtifactUploads(run_dir, state, Store()).add("a.txt", "plots/x.png")
    (run_dir / "a.txt").unlink()
    state.save(run_dir / "state.json")
    store, again = Store(), MlflowState.load(run_dir / "state.json")
    assert again is not None
    ArtifactUploads(run_dir, again, store).drain()
    assert [name for name, _ in store.sent] == ["plots/x.png"] and again.pending == []
