"""The event log: whole lines, in order, never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from trainer.runs.events import reader
from trainer.runs.events.log import EventLog, NullEventLog
from trainer.runs.events.schema import EVENTS, LAST_WORDS, SYNCED, document

ROOT = Path(__file__).parents[2]


def numbers(path: Path) -> list[int]:
    return [event["seq"] for event in reader.events(path)]


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    before = time.time()
    with EventLog(path) as log:
        log.emit(
            "train",
            iter=1,
            losses={"loss": float("nan"), "other": float("inf")},
        )
        log.emit("artifact", kind="a field may be so named: Ärger\nin two lines", path=Path("x"))
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["v"], first["seq"], first["type"], first["iter"]) == (1, 1, "train", 1)
    assert before <= first["time"] <= second["time"] <= time.time()
    assert first["losses"] == {"loss": None, "other": None}
    assert second["kind"].endswith("Ärger\nin two lines") and second["path"] == "x"


def test_unknown_type_is_a_mistake_at_once(tmp_path: Path) -> None:
    with EventLog(tmp_path / "e") as log, pytest.raises(ValueError, match="'trian'"):
        log.emit("trian")
    with EventLog(tmp_path / "e") as log, pytest.raises(ValueError, match="'lr_rate'.*losses"):
        log.emit("train", lr_rate=1.0)
    with pytest.raises(ValueError, match="'trian'"):
        NullEventLog().emit("trian")


def test_vocabulary_names_what_readers_wait_for() -> None:
    assert set(LAST_WORDS) <= set(SYNCED) <= set(EVENTS)


def test_the_page_on_events_is_the_vocabulary() -> None:
    assert (ROOT / "docs" / "events.md").read_text() == document()


def test_secrets_are_masked_for_readers_and_listeners(tmp_path: Path) -> None:
    heard: list[Any] = []
    with EventLog(tmp_path / "e") as log:
        log.listen(heard.append)
        log.emit("warning", message="no answer from https://me:hunter2222@host/x")
        log.emit("failed", error={"type": "NetworkError", "message": "s3://key:hunter2222@host"}, result={})
    assert "hunter2222" not in (tmp_path / "e").read_text() + str(heard)
    assert "no answer from https://***@host/x" in str(heard)


def test_the_other_processes_log_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    heard: list[Any] = []
    with NullEventLog() as log:
        log.listen(heard.append)
        log.emit("warning", message="x")
        assert log.flush() and log.cursor == 0
    assert not heard and not list(tmp_path.iterdir())


@pytest.mark.parametrize("torn", [b'{"v": 1, "seq": 3, "ty', b"\x00\xff", b'{"seq": 3, "type": "x"}'])
def test_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.emit("warning", message="one")
        log.emit("warning", message="two" * 50_000)  # longer than a block of the search
    with path.open("ab") as file:
        file.write(torn)
    assert numbers(path) == [1, 2]
    with EventLog(path) as log:
        log.emit("warning", message="three")
    assert numbers(path) == [1, 2, 3]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_only_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"v": 1, "se')
    with EventLog(path) as log:
        log.emit("warning", message="one")
    assert numbers(path) == [1]


def test_damaged_line_in_the_middle_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq": 1, "type": "a"}\nrubbish\n[1]\n{"seq": 2, "type": "b"}\n')
    assert numbers(path) == [1, 2]


def test_reading_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert list(reader.read(path)) == []
    path.write_bytes(b'{"seq": 1, "type": "a"}\n{"seq": 2, "ty')
    [(event, offset)] = list(reader.read(path))
    assert event["seq"] == 1
    assert list(reader.read(path, offset)) == []
    with path.open("ab") as file:
        file.write(b'pe": "b"}\n')
    [(event, end)] = list(reader.read(path, offset))
    assert event["seq"] == 2 and end == path.stat().st_size


def test_order_over_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        threads = [
            threading.Thread(target=lambda: [log.emit("warning") for _ in range(500)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert numbers(path) == list(range(1, 2001))


def test_lines_are_out_within_two_seconds(tmp_path: Path) -> None:
    with EventLog(tmp_path / "e") as log:
        log.emit("warning", message="soon")
        until = time.monotonic() + 2
        while not numbers(tmp_path / "e"):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_stuck_listener_holds_up_neither_emitting_nor_the_file(tmp_path: Path) -> None:
    release = threading.Event()
    heard: list[int] = []
    with EventLog(tmp_path / "e") as log:
        log.listen(lambda event: release.wait(10) and heard.append(event["seq"]))
        start = time.perf_counter()
        for _ in range(1000):
            log.emit("warning", message="x")
        took = time.perf_counter() - start
        assert log.flush()
        assert len(numbers(tmp_path / "e")) == 1000 and not heard
        release.set()
    assert took < 0.5
    assert heard == list(range(1, 1001))


def test_a_failing_listener_is_dropped(tmp_path: Path) -> None:
    calls: list[Any] = []

    def bad(event: Any) -> None:
        calls.append(event)
        raise RuntimeError("no")

    heard: list[int] = []
    with EventLog(tmp_path / "e") as log:
        log.listen(bad)
        log.listen(lambda event: heard.append(event["seq"]))
        for _ in range(3):
            log.emit("warning")
    assert len(calls) == 1 and heard == [1, 2, 3]


def test_a_full_disk_loses_nothing_once_it_has_room_again(tmp_path: Path) -> None:
    path = tmp_path / "e"
    log = EventLog(path)
    log.emit("warning", message="before")
    assert log.flush()
    file, written = os.dup(log._file), path.read_bytes()
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), log._file)
    log.emit("warning", message="x" * 100_000)
    log.emit("warning")
    assert log.flush() and path.read_bytes() == written
    os.dup2(file, log._file)
    log.emit("warning", message="after")
    log.close()
    os.close(file)
    assert numbers(path) == [1, 2, 3, 4]


def test_a_disk_that_fills_up_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """The part that fitted is taken back: the log never has half a line."""
    program = (
        "import resource, signal, sys, time\nfrom trainer.runs.events.log import EventLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nlog = EventLog(sys.argv[1])\n"
        "_, most = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))\n"
        "for n in range(50):\n    log.emit('warning', message='x' * 500)\n    log.flush()\n"
        "whole = open(sys.argv[1], 'rb').read()\nassert whole.endswith(b'\\n') and 5_000 < len(whole) <= 10_000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\nlog.close()\n"
    )
    path = tmp_path / "events.jsonl"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment())
    assert numbers(path) == list(range(1, 51))


def test_kill_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    process = emitting(path, "    time.sleep(0.002)\n")
    try:
        until = time.monotonic() + 30
        while not numbers(path) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1.5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = list(reader.events(path))
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert found and found[-1]["time"] > time.time() - 1.7


def test_killed_again_and_again_the_log_stays_whole(tmp_path: Path) -> None:
    """Each process is killed while it writes as fast as it can; the next one repairs and goes on counting."""
    path = tmp_path / "events.jsonl"
    random = Random(0)
    for _ in range(8):
        size = path.stat().st_size if path.exists() else 0
        process = emitting(path, "")
        with suppress(FileNotFoundError):
            while path.stat().st_size <= size:
                time.sleep(0.005)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.wait()
    with EventLog(path) as log:
        log.emit("warning", message="the end")
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert numbers(path) == list(range(1, len(numbers(path)) + 1))


def emitting(path: Path, pause: str) -> subprocess.Popen[bytes]:
    """A process that emits events for ever."""
    program = (
        "import sys, time\nfrom trainer.runs.events.log import EventLog\nlog = EventLog(sys.argv[1])\n"
        f"for n in range(10**6):\n    log.emit('train', iter=n, losses={{'loss': 0.5}})\n{pause}"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(path)], env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
