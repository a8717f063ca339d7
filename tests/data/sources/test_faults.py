"""Stores that answer 500, slowly, damaged or half; processes that are killed, or want the same at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.conftest import image, write
from tests.data.folders import make
from tests.data.sources.conftest import BUCKET, Server, put, upload
from trainer.core.errors import NetworkError
from trainer.data.prepare import prepare
from trainer.data.sources import bucket
from trainer.schema import Dataset

PREFIX = "datasets/big/"
URI = f"s3://{BUCKET}/{PREFIX}"
COUNT = 3000
FETCH = f"""
from trainer.schema import Dataset
from trainer.core import retry
from trainer.data.sources.resolve_source import resolve_source
retry.PAUSE = 0.01
print(resolve_source(Dataset(format="coco", path="{URI}"), "detection", "big").path)
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def coco(folder: Path, count: int) -> Path:
    """``count`` images in two splits, 32 different ones."""
    pictures = [image(folder.parent / f"{i}.png", 16 + i, 16).read_bytes() for i in range(32)]
    for split, share in (
        ("train", range(0, count, 3)),
        ("val", range(1, count, 3)),
        ("train", range(2, count, 3)),
    ):
        for i in share:
            write(folder / f"{split}2017" / f"{i}.png", pictures[i % 32])
    for split, kept in (("train", (0, 2)), ("val", (1,))):
        numbers = [i for i in range(count) if i % 3 in kept]
        images = [{"id": i, "file_name": f"{i}.png", "width": 16 + i % 32, "height": 16} for i in numbers]
        labels = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1 + i % 7, 2, 8, 9]} for i in numbers]
        document = {"images": images, "annotations": labels, "categories": [{"id": 1, "name": "thing"}]}
        write(folder / "annotations" / f"instances_{split}2017.json", document)
    return folder


def unlucky(method: str, key: str, count: int) -> str | None:
    """One object in twenty goes wrong when it is first asked for, in one of four ways."""
    number = int(hashlib.sha256(key.encode()).hexdigest()[:4], 16)
    if count != 1 or number % 20:
        return None
    return ("500", "cut", "slow", "damage")[number // 20 % 4]


@pytest.mark.slow
def test_three_thousand_objects_with_faults_and_a_kill(s3: Server, tmp_path, cache, monkeypatch):
    folder = coco(tmp_path / "pictures" / "big", COUNT)
    upload(folder, PREFIX)
    s3.trouble = unlucky
    process = start()
    deadline = time.monotonic() + 120
    while sum(s3.asked.values()) < COUNT // 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(s3.listed) == 4, "pages of a thousand"
    [part] = (cache / "datasets").glob("*.part")
    there = {str(p.relative_to(part / "data")) for p in part.rglob("*") if p.suffix in (".png", ".json")}
    assert COUNT // 4 < len(there) < COUNT // 2
    before, threads = s3.asked.copy(), bucket.THREADS
    monkeypatch.setattr(bucket, "THREADS", 4)  # beside the server, in one process
    bundle = prepare(Dataset(format="coco", path=URI), "detection")
    again = {key.removeprefix(PREFIX) for key in s3.asked if s3.asked[key] > before[key]}
    assert not again & there, "what a kill left is not fetched again"
    assert bundle.fingerprint == prepare(Dataset(format="coco", path=str(folder)), "detection").fingerprint
    faults = sum(unlucky("GET", key, 1) in ("500", "cut", "damage") for key in s3.asked)
    assert faults > COUNT // 40
    assert sum(s3.asked.values()) <= COUNT + 2 + faults + threads
    assert not list((cache / "datasets").glob("*.part"))


def test_two_processes_at_once_fetch_once(s3: Server, tmp_path):
    upload(coco(tmp_path / "pictures" / "big", 60), PREFIX)
    s3.trouble = lambda method, key, count: "slow" if key.endswith("json") else None
    first, second = start(), start()
    places = {process.communicate()[0].strip() for process in (first, second)}
    assert len(places) == 1 and Path(places.pop()).is_dir()
    assert set(s3.asked.values()) == {1} and len(s3.asked) == 62


def test_a_large_object_goes_on_where_it_was_cut(s3: Server, tmp_path):
    folder = make("dice", tmp_path / "big", "detection")
    picture = folder / "images" / "pic0.png"
    picture.write_bytes(picture.read_bytes() + os.urandom(1 << 20))
    upload(folder, PREFIX)
    size = picture.stat().st_size
    s3.trouble = lambda method, key, count: "cut" if key.endswith("pic0.png") and count < 3 else None
    prepare(Dataset(format="auto", path=URI), "detection")
    assert len(s3.ranges) == 2
    assert all(0 < int(asked.removeprefix("bytes=").rstrip("-")) < size for asked in s3.ranges)
    [found] = (tmp_path / "cache" / "datasets").rglob("pic0.png")
    assert found.read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("trouble", ["500", "cut"])
def test_a_page_of_the_listing_that_fails(trouble, s3: Server, tmp_path):
    upload(make("dice", tmp_path / "big", "detection"), PREFIX)
    s3.trouble = lambda method, key, count: trouble if len(s3.listed) == 1 and not s3.asked else None
    assert prepare(Dataset(format="auto", path=URI), "detection").train.num_images == 4
    assert len(s3.listed) == 2


def test_a_store_that_stalls(s3: Server, tmp_path, monkeypatch):
    upload(make("dice", tmp_path / "big", "detection"), PREFIX)
    monkeypatch.setattr(bucket, "READ_SECONDS", 0.4)
    s3.trouble = lambda method, key, count: "stall" if key.endswith("pic1.png") and count == 1 else None
    assert prepare(Dataset(format="auto", path=URI), "detection").train.num_images == 4
    assert s3.asked[f"{PREFIX}images/pic1.png"] == 2


@pytest.mark.parametrize(
    ("trouble", "why"), [("damage", "arrived damaged"), ("500", "the store answers 500"), ("cut", "")]
)
def test_what_goes_wrong_each_time_ends(trouble, why, s3: Server, tmp_path, cache):
    upload(make("dice", tmp_path / "big", "detection"), PREFIX)
    s3.trouble = lambda method, key, count: trouble if key.endswith("pic1.png") else None
    if trouble == "cut":
        put(f"{PREFIX}images/pic1.png", b"x")  # half of it is nothing
    with pytest.raises(NetworkError, match=f"{why}.*6 tries in a row.*kept for the next start"):
        prepare(Dataset(format="auto", path=URI), "detection")
    assert [p.name[-5:] for p in (cache / "datasets").iterdir() if p.is_dir()] == [".part"]
    s3.trouble = lambda method, key, count: None
    put(f"{PREFIX}images/pic1.png", (tmp_path / "big" / "images" / "pic1.png").read_bytes())
    assert prepare(Dataset(format="auto", path=URI), "detection").train.num_images == 4
