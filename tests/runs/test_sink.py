"""A sink of a few lines: stopped, killed, refused, it says everything once in the end."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trainer.core.errors import ResourceError
from trainer.runs.events import sink as sinks
from trainer.runs.events.log import EventLog
from trainer.runs.events.reader import Event
from trainer.runs.events.sink import Cursor, Sink, cursor_file, follow, is_running, sync
from trainer.runs.run import Run


class Notebook(Sink):
    """Writes one file an event, named by its number: said twice, it is there once."""

    name = "notebook"

    def __init__(self, run: Run, fail: list[Exception] | None = None) -> None:
        super().__init__(run)
        self.cursor = Cursor.load(self.file) or Cursor()
        self.fail = fail or []
        self.told: list[int] = []
        self.finished: list[bool] = []

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if self.fail:
                raise self.fail.pop(0)
            self.told.append(event["seq"])
            (self.run.dir / f"note-{event['seq']}").write_text(event["type"])

    def finish(self, gone: bool) -> None:
        self.finished.append(gone)

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, PermissionError)

    @property
    def notes(self) -> list[int]:
        return sorted(int(path.name.partition("-")[2]) for path in self.run.dir.glob("note-*"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(sinks, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path, "x", "m")
    emit(run, "run_started", "warning", "warning", "finished")
    return run


def emit(run: Run, *kinds: str) -> None:
    with EventLog(run.events) as log:
        for kind in kinds:
            log.emit(kind)


def test_all_of_it_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "BATCH_EVENTS", 3)
    first = Notebook(run)
    assert sync(first).error is None
    assert first.told == [1, 2, 3, 4] and first.finished == [False]
    again = Notebook(run)
    sync(again)
    assert again.told == []
    emit(run, "run_started", "failed")
    sync(again)
    assert again.told == [5, 6]


def test_a_kill_between_telling_and_noting_it_says_it_twice_and_loses_nothing(run: Run) -> None:
    first = Notebook(run)
    first.save = lambda: None  # type: ignore[method-assign]  # as if killed before
    sync(first)
    second = Notebook(run)
    sync(second)
    assert second.told == [1, 2, 3, 4] and second.notes == [1, 2, 3, 4]


def test_what_is_refused_is_tried_again(run: Run) -> None:
    sink = Notebook(run, [ConnectionError("at https://me:hunter2222@host"), ConnectionError("no")])
    assert sync(sink, patience=10).error is None
    assert sink.notes == [1, 2, 3, 4]


def test_patience_has_an_end_and_the_reason_is_kept_without_secrets(run: Run) -> None:
    sink = Notebook(run, [ConnectionError("at https://me:hunter2222@host")] * 100)
    assert sync(sink, patience=0.0).error == "ConnectionError: at https://***@host"
    assert "hunter" not in sink.file.read_text() and json.loads(sink.file.read_text())["error"]


def test_the_same_answer_isnt_asked_for_again(run: Run) -> None:
    sink = Notebook(run, [PermissionError("never")] * 2)
    assert sync(sink, patience=60).error and len(sink.fail) == 1


def test_a_cursor_that_cant_be_written_is_no_end(run: Run) -> None:
    """A full disk: all is told, and told again once the cursor can be kept."""
    sink, saves = Notebook(run), iter([OSError(28, "no space left")] * 2)

    def save() -> None:
        for error in saves:
            raise error
        Notebook.save(sink)

    sink.save = save  # type: ignore[method-assign]
    assert sync(sink, patience=10).error is None
    assert Cursor.load(sink.file).offset == run.events.stat().st_size  # type: ignore[union-attr]
    assert sink.notes == [1, 2, 3, 4]


def test_a_log_that_is_shorter_than_what_was_read_is_read_again(run: Run) -> None:
    """After a power cut: what the system hadn't written is gone, and the run went on from an earlier point."""
    sync(Notebook(run))
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:2]))
    emit(run, *["warning"] * 5, "finished")
    sink = Notebook(run)
    sync(sink)
    assert sink.told == list(range(1, 9))


def test_following_to_the_last_word(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "x", "m")
    emit(run, "run_started", "cancelled")  # an earlier attempt's
    sink, log = Notebook(run), EventLog(run.events)
    thread = threading.Thread(target=follow, args=(sink, os.getpid(), run.events.stat().st_size))
    thread.start()
    for kind in ("run_started", "resumed", "warning"):
        log.emit(kind)
        log.flush()
        until(lambda: sink.notes[-1:] == [log.cursor])
    assert thread.is_alive()
    log.emit("finished")
    log.close()
    thread.join(10)
    assert not thread.is_alive() and sink.notes == [1, 2, 3, 4, 5, 6] and sink.finished == [False]


def test_one_at_a_time(run: Run) -> None:
    class Slow(Notebook):
        def tell(self, events: Sequence[Event]) -> None:
            time.sleep(0.5)

    thread = threading.Thread(target=sync, args=(Slow(run),))
    thread.start()
    until(lambda: cursor_file(run.dir, "notebook").with_suffix(".lock").exists())
    with pytest.raises(ResourceError, match=f"{os.getpid()}.*is telling notebook"):
        sync(Notebook(run), patience=0)
    thread.join()


def test_whether_a_training_goes_on(run: Run) -> None:
    assert is_running(run)  # its log is fresh
    os.utime(run.events, (time.time() - 1000,) * 2)
    assert not is_running(run)
    attempt: dict[str, Any] = {"pid": os.getpid(), "ended": None, "host": "elsewhere"}
    run.update(attempts=[attempt])
    assert not is_running(run)  # a process of that number here says nothing about one elsewhere
    os.utime(run.events)
    assert is_running(run)
    os.utime(run.events, (time.time() - 1000,) * 2)
    import socket

    run.update(attempts=[{**attempt, "host": socket.gethostname()}])
    assert is_running(run)
    run.update(attempts=[{**attempt, "host": socket.gethostname(), "ended": 1.0}])
    assert not is_running(run)


def test_a_damaged_cursor_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"offset": 3, "from a later version": 1}'):
        (tmp_path / "c.json").write_text(text)
        cursor = Cursor.load(tmp_path / "c.json")
        assert (cursor.offset if cursor else None) == (3 if "offset" in text else None)


def until(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.01)
