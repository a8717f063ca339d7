"""The cache of data sets: least recently used first, never what is in use, under a limit."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from tests.data.folders import make
from tests.data.sources.conftest import release
from tests.data.sources.test_archives import pack
from trainer.core.errors import ResourceError
from trainer.core.locks import locked
from trainer.data.sources import archive, dataset_cache

KB = 1000
USE_B = """
from trainer.data.sources.dataset_cache import cache_entry
cache_entry("b", "b", lambda part: {})
print("used", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch):
    """A limit of 100 kB; nothing is in use afterwards."""
    monkeypatch.delenv("DATASET_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRAINER_CACHE_GB", "0.0001")
    yield
    release()


def hold(name: str, size: int = 40 * KB) -> Path:
    def fill(part: Path) -> dict[str, str]:
        dataset_cache.make_room(size, part)
        (part / "data" / "file").write_bytes(bytes(size))
        return {"source": name}

    return dataset_cache.cache_entry(name, name, fill)


def held() -> set[str]:
    return {path.name for path in dataset_cache.datasets_dir().iterdir() if path.is_dir()}


def aged(name: str, seconds: int) -> None:
    note = dataset_cache.datasets_dir() / name / "source.json"
    os.utime(note, (note.stat().st_mtime - seconds,) * 2)


def test_the_least_recently_used_goes_first():
    for name, age in (("a", 30), ("b", 20)):
        hold(name)
        aged(name, age)
    release()
    hold("a")  # used again
    release()
    hold("c")
    assert held() == {"a", "c"}


def test_what_a_process_uses_stays(caplog):
    hold("a")
    aged("a", 30)
    other = subprocess.Popen(
        [sys.executable, "-c", USE_B],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None and other.stdout.readline()
    note = dataset_cache.datasets_dir() / "b" / "source.json"
    note.write_text(json.dumps({"bytes": 40 * KB}))
    with caplog.at_level(logging.WARNING, "trainer"):
        hold("c")
    assert held() == {"a", "b", "c"} and "more than its limit" in caplog.text
    release()
    hold("d")
    assert held() == {"b", "d"}, "b is still used, by another process"
    other.communicate(b"\n")
    aged("b", 30)
    hold("e", 70 * KB)
    assert held() == {"d", "e"}


def test_unfinished_ones_are_removed_unless_somebody_is_at_them():
    for name in ("left", "busy"):
        part = dataset_cache.datasets_dir() / f"{name}.part" / "data"
        part.mkdir(parents=True)
        (part / "file").write_bytes(bytes(60 * KB))
    with locked(dataset_cache.datasets_dir() / "busy.lock"):
        hold("a", 30 * KB)
    assert held() == {"busy.part", "a"}
    hold("b", 30 * KB)
    assert held() == {"a", "b"}


def test_one_larger_than_the_limit_takes_all(caplog):
    hold("a")
    release()
    with caplog.at_level(logging.WARNING, "trainer"):
        hold("b", 300 * KB)
    assert held() == {"b"} and "TRAINER_CACHE_GB" in caplog.text


def test_a_disk_without_room(monkeypatch):
    hold("a", 10 * KB)
    release()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 95, 5))
    with pytest.raises(ResourceError, match="DATASET_CACHE_DIR names another folder"):
        hold("b", 10 * KB)
    assert "a" not in held(), "the rest was given up before"


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(ResourceError, match="can't be written"):
        hold("a")


def test_an_evicted_archive_is_unpacked_again(tmp_path):
    first = pack(make("coco", tmp_path / "one", "detection"), tmp_path / "one.zip")
    second = pack(make("coco", tmp_path / "two", "pose"), tmp_path / "two.zip")
    place = archive.unpacked(first)
    release()
    archive.unpacked(second)
    assert not place.exists()
    assert archive.unpacked(first) == place and (place / "train2017" / "pic0.png").is_file()
