"""Ranks and workers see the same annotations as with the stock class, and the machine holds them once."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from trainer.engine import compat
from trainer.engine.distributed import shared_annotations
from trainer.engine.distributed.shared_annotations import Mapped, open_mapped, share

compat.apply()
SIZE = 24 << 20


class Numbers(BaseDataset):
    """A data set without files: 200 entries of several sizes."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [
            {"img_path": f"{i}.jpg", "instances": [{"bbox": [i, j, 1.5, 2]} for j in range(i % 7)]}
            for i in range(200)
        ]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path))
    return tmp_path / "annotations"


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> Numbers:
    monkeypatch.setattr(shared_annotations, "LEAST", 1)
    return Numbers()


def test_same_entries_as_the_stock_class(mapped: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseDataset, "_serialize_data", compat._stock["_serialize_data"])
    stock = Numbers()
    assert isinstance(mapped.data_bytes, Mapped) and not isinstance(stock.data_bytes, Mapped)
    assert bytes(mapped.data_bytes) == bytes(stock.data_bytes)
    assert len(mapped) == len(stock) == 200
    assert all(mapped.get_data_info(i) == stock.get_data_info(i) for i in range(200))
    some = [3, 5, 150]
    assert [mapped.get_subset(some)[i] for i in range(3)] == [stock.get_subset(some)[i] for i in range(3)]
    assert mapped.get_subset(10).get_data_info(9) == stock.get_subset(10).get_data_info(9)


def test_small_ones_stay_in_memory(cache: Path) -> None:
    assert not isinstance(Numbers().data_bytes, Mapped)
    assert not cache.exists()


def test_equal_content_is_one_file(mapped: Numbers, cache: Path) -> None:
    again = Numbers()
    assert again.data_bytes.filename == mapped.data_bytes.filename
    assert len(list(cache.iterdir())) == 1


def test_spawned_workers_get_the_name_and_not_the_bytes(mapped: Numbers) -> None:
    sent = pickle.dumps(mapped.data_bytes)
    assert len(sent) < 500 < mapped.data_bytes.nbytes
    assert bytes(pickle.loads(sent)) == bytes(mapped.data_bytes)
    part = mapped.data_bytes[10:20]
    assert bytes(pickle.loads(pickle.dumps(part))) == bytes(part)
    assert bytes(copy.deepcopy(mapped.data_bytes)) == bytes(mapped.data_bytes)


def test_a_cache_that_cannot_be_written_costs_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_annotations, "atomic_write", full)
    content = np.arange(100, dtype=np.uint8)
    assert share(content) is content


def test_two_processes_hold_the_bytes_once() -> None:
    content = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    path = str(share(content).filename)  # type: ignore[attr-defined]
    spawn = multiprocessing.get_context("fork")
    pairs = [spawn.Pipe() for _ in range(2)]
    ranks = [spawn.Process(target=_rank, args=(path, theirs)) for _, theirs in pairs]
    for rank in ranks:
        rank.start()
    sums = [ours.recv() for ours, _ in pairs]  # both have read everything, and stay
    for ours, _ in pairs:
        ours.send("measure")
    shares = [ours.recv() for ours, _ in pairs]
    for ours, _ in pairs:
        ours.send("end")
    for rank in ranks:
        rank.join()
    assert sums == [int(content.sum(dtype=np.int64))] * 2
    assert sum(shares) < 1.2 * SIZE, f"{shares} bytes of {SIZE}"


def _rank(path: str, pipe: Connection) -> None:
    mapped = open_mapped(path)
    pipe.send(int(mapped.sum(dtype=np.int64)))
    pipe.recv()
    pipe.send(_proportional(path))
    pipe.recv()


def _proportional(path: str) -> int:
    """This process's share in bytes of the file's pages (PSS): a page that two have mapped counts half."""
    text = Path("/proc/self/smaps").read_text()
    found = re.search(rf"{re.escape(path)}\n(?:.*\n)*?Pss:\s+(\d+) kB", text)
    assert found, "not mapped"
    return int(found.group(1)) << 10


def test_the_data_sets_of_all_tasks_are_serialised_this_way() -> None:
    from mmdet.datasets import CocoDataset
    from mmpose.datasets import CocoDataset as PoseDataset
    from mmseg.datasets import BaseSegDataset

    for kind in (CocoDataset, PoseDataset, BaseSegDataset):
        assert issubclass(kind, BaseDataset) and kind._serialize_data is BaseDataset._serialize_data
        assert inspect.signature(BaseDataset).parameters["serialize_data"].default is True
        given = inspect.signature(kind).parameters.get("serialize_data")
        assert given is None or given.default is True
