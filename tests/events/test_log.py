"""The event log: whole lines, in order, never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.events import reader
from trainer.events.log import EventLog
from trainer.events.vocabulary import EVENTS, LAST_WORDS


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
            kind="a field may be so named",
        )
        log.emit("warning", message="Ärger\nin two lines", path=Path("x"))
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["v"], first["seq"], first["type"], first["iter"]) == (1, 1, "train", 1)
    assert before <= first["time"] <= second["time"] <= time.time()
    assert first["losses"] == {"loss": None, "other": None}
    assert second["message"] == "Ärger\nin two lines" and second["path"] == "x"


def test_unknown_type_is_a_mistake_at_once(tmp_path: Path) -> None:
    with EventLog(tmp_path / "e") as log, pytest.raises(ValueError, match="'trian'"):
        log.emit("trian")


def test_vocabulary_names_what_readers_wait_for() -> None:
    assert set(LAST_WORDS) <= set(EVENTS)


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


def test_a_stuck_listener_does_not_hold_up_emitting(tmp_path: Path) -> None:
    release = threading.Event()
    with EventLog(tmp_path / "e") as log:
        log.listen(lambda event: release.wait(10) and None)
        start = time.perf_counter()
        for _ in range(1000):
            log.emit("warning", message="x")
        took = time.perf_counter() - start
        release.set()
        assert log.flush()
    assert took < 0.5
    assert len(numbers(tmp_path / "e")) == 1000


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


def test_full_disk_stops_the_log_only(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    log = EventLog(tmp_path / "e")
    log._file.close()  # type: ignore[union-attr]
    log._file = open("/dev/full", "wb")  # noqa: SIM115
    log.emit("warning", message="x" * 100_000)
    assert log.flush()
    log.emit("warning")
    log.close()


def test_kill_loses_at_most_the_last_second(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom trainer.events.log import EventLog\nlog = EventLog(sys.argv[1])\n"
        "for n in range(10**6):\n    log.emit('train', iter=n, losses={'loss': 0.5})\n    time.sleep(0.002)\n"
    )
    path = tmp_path / "events.jsonl"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": root}
    )
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
