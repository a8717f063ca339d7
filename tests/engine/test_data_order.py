"""What a batch holds and what is drawn for it hangs on its place alone."""

from __future__ import annotations

import pickle
import random
from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from trainer.engine.data_order import WARM_UP, Batch, DataOrderHook, Places, SeededData


class Draws:
    """Each item is what the three generators say."""

    def __init__(self) -> None:
        self.pipeline: list[Any] = []

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[float, ...]:
        for transform in self.pipeline:
            transform.results_cache.append(index)
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def at(epoch: int, number: int) -> Batch:
    batch = Batch([2, 3])
    batch.epoch, batch.number = epoch, number
    return batch


def places(*, infinite: bool = False, **options: Any) -> Places:
    kind = InfiniteSampler if infinite else DefaultSampler
    return Places(BatchSampler(kind(range(7), seed=5), 2, False), **options)


def test_numbers_start_and_limit() -> None:
    whole = places()
    batches = list(whole)
    assert [(batch.epoch, batch.number) for batch in batches] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert len(whole) == whole.whole == 4
    whole.start, whole.epoch = 3, 0
    assert list(whole) == batches[3:] and len(whole) == 1
    short = places(limit=2)
    assert list(short) == batches[:2] and len(short) == 2


def test_endless_goes_through_the_epochs_and_skips() -> None:
    finite = places(endless=True)
    through = [batch for batch, _ in zip(finite, range(12), strict=False)]
    assert through[:4] != through[4:8] and sorted(chain(*through[4:8])) == list(range(7))
    assert [batch.epoch for batch in through] == [0] * 4 + [1] * 4 + [2] * 4
    for infinite in (False, True):
        order = [batch for batch, _ in zip(places(endless=True, infinite=infinite), range(12), strict=False)]
        late = places(endless=True, infinite=infinite)
        late.start = 9
        assert [batch for batch, _ in zip(late, range(3), strict=False)] == order[9:]


def test_place_decides_what_is_drawn() -> None:
    data = SeededData(Draws(), seed=1, rank=0)
    first = data.__getitems__(at(0, 0))
    random.seed(9)
    torch.manual_seed(9)
    assert data.__getitems__(at(0, 0)) == first
    others = [
        data.__getitems__(at(0, 1)),
        data.__getitems__(at(1, 0)),
        SeededData(Draws(), seed=2, rank=0).__getitems__(at(0, 0)),
        SeededData(Draws(), seed=1, rank=1).__getitems__(at(0, 0)),
    ]
    drawn = [items[0][kind] for items in [first, *others] for kind in (1, 2, 3)]
    assert len(set(drawn)) == 15


def test_training_keeps_its_own_generators() -> None:
    def states() -> list[Any]:
        return [random.random(), np.random.rand(), torch.rand(()).item()]

    for kind in (random, np.random, torch):
        getattr(kind, "manual_seed" if kind is torch else "seed")(3)
    expected = states()
    for kind in (random, np.random, torch):
        getattr(kind, "manual_seed" if kind is torch else "seed")(3)
    SeededData(Draws(), seed=1, rank=0).__getitems__(at(0, 0))
    assert states() == expected


def test_data_set_is_reached_through_it() -> None:
    inner = Draws()
    data = pickle.loads(pickle.dumps(SeededData(inner, seed=1, rank=0)))
    assert len(data) == 7 and data[2][0] == 2 and data.pipeline == []
    data = SeededData(inner, seed=1, rank=0)
    data.pipeline = ["other"]
    assert inner.pipeline == ["other"]
    batch = pickle.loads(pickle.dumps(at(3, 4)))
    assert (list(batch), batch.epoch, batch.number) == ([2, 3], 3, 4)


def test_caches_are_filled_anew_each_epoch() -> None:
    inner = Draws()
    cached = SimpleNamespace(results_cache=[])
    inner.pipeline = [cached]
    data = SeededData(inner, seed=1, rank=0)
    data.__getitems__(at(0, 0))
    first = list(cached.results_cache)
    assert len(first) == WARM_UP + 2
    data.__getitems__(at(0, 1))
    assert cached.results_cache[: len(first)] == first
    data.__getitems__(at(1, 0))
    assert len(cached.results_cache) == WARM_UP + 2 and cached.results_cache != first
    again = SeededData(inner, seed=1, rank=0)
    again.__getitems__(at(1, 0))
    assert len(cached.results_cache) == WARM_UP + 2


def test_loader_that_a_hook_exchanged_is_taken_over() -> None:
    hook = DataOrderHook(places())
    hook.places.epoch, hook.places.start = 3, 1
    sampler = DefaultSampler(range(7), seed=77)
    loader = DataLoader(Draws(), batch_size=2, sampler=sampler)
    runner = SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader), seed=5, rank=0, world_size=1)
    hook.adopt(runner)
    assert isinstance(loader.batch_sampler, Places) and hook.places is loader.batch_sampler
    expected = DefaultSampler(range(7), seed=5)
    expected.set_epoch(3)
    assert list(chain(*hook.places)) == list(expected)[2:]
