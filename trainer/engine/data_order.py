"""Which images a batch holds and what is drawn for it: a function of the seed, the process and the batch's place.

Nothing hangs on how many batches a data loader process has loaded before, so a run that goes on in the middle of
an epoch draws what the undisturbed one would have drawn, with any number of workers, and skips what it has trained
on without loading it.

One thing has a memory: Mosaic and MixUp from a cache of earlier images. Each worker begins every epoch with a
cache that a few images drawn for that epoch have filled, so going on at an epoch's start is exact with them too;
in the middle of an epoch their partners differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, get_worker_info

# Images that fill a worker's caches at an epoch's start: enough that the first image already gets its partners.
WARM_UP = 12


class Batch(list[int]):
    """The indices of a batch, which epoch it belongs to and its number there."""

    epoch = 0
    number = 0


class Places:
    """Takes a batch sampler's place: numbers its batches, leaves out the first, ends early or never.

    Args:
        inner: what yields the indices of each batch.
        endless: begin again when the data has been gone through, for loops that count iterations.
        limit: batches an epoch, for debugging.
    """

    def __init__(self, inner: Any, *, endless: bool = False, limit: int | None = None) -> None:
        self.inner, self.endless, self.limit = inner, endless, limit
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[Batch]:
        number, passes = 0, self.epoch
        while True:
            before = number
            for indices in self.inner:
                if self.limit is not None and number >= self.limit:
                    return
                if number >= self.start:
                    batch = Batch(indices)
                    batch.epoch = number // max(1, len(self.inner)) if self.endless else self.epoch
                    batch.number = number
                    yield batch
                number += 1
            if not self.endless or number == before:
                return
            passes += 1
            _set_epoch(self.inner, passes)

    @property
    def whole(self) -> int:
        """Batches of an epoch."""
        return len(self.inner) if self.limit is None else min(len(self.inner), self.limit)

    def __len__(self) -> int:
        """Batches that are left of this epoch."""
        return self.whole if self.endless else max(0, self.whole - self.start)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self.inner, name)


class SeededData:
    """A data set whose random generators stand, for each batch, where the batch's place puts them.

    Everything else, setting attributes included (hooks exchange the pipeline), is the data set's.
    """

    def __init__(self, data: Any, seed: int, rank: int) -> None:
        vars(self).update(_data=data, _seed=seed, _rank=rank, _epoch=None)

    def __getitems__(self, batch: Batch) -> list[Any]:
        own = vars(self)
        with _drawing(own["_seed"], own["_rank"], batch.epoch, batch.number):
            if own["_epoch"] != batch.epoch:
                own["_epoch"] = batch.epoch
                _renew_caches(own["_data"])
            several = getattr(own["_data"], "__getitems__", None)
            return several(list(batch)) if several else [own["_data"][index] for index in batch]

    def __getitem__(self, index: int) -> Any:
        return vars(self)["_data"][index]

    def __len__(self) -> int:
        return len(vars(self)["_data"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_data" not in vars(self):
            raise AttributeError(name)
        return getattr(vars(self)["_data"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_data"], name, value)


class Endless:
    """What a loop that counts iterations takes its batches from: a loader over an endless :class:`Places`."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._batches: Iterator[Any] | None = None

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)

    def skip_iter(self, count: int) -> None:
        """Nothing: the order starts there already."""


class DataOrderHook(Hook):
    """Tells the training data's order which epoch it is and where in it to begin."""

    priority = "VERY_HIGH"

    def __init__(self, places: Places) -> None:
        self.places = places
        self.begin = 0  # batches of the coming epoch that were trained on before
        self.done = 0  # batches of the current epoch that have been trained on

    def before_train(self, runner: Any) -> None:
        """Let each process draw its own: dropout and augmentation on the GPU hang on torch's generator, which
        mmengine seeds the same in all."""
        if runner.rank:
            _seed(runner.seed, runner.rank)
            if torch.cuda.is_available():
                torch.cuda.manual_seed(runner.seed + runner.rank)

    def before_train_epoch(self, runner: Any) -> None:
        if self.places.endless:
            runner.train_loop.dataloader_iterator = Endless(runner.train_dataloader)
            self.begin = runner.iter
        self.places.epoch, self.places.start = runner.epoch, self.begin
        self.done, self.begin = self.begin, 0

    def adopt(self, runner: Any) -> None:
        """Take over a loader that a hook has put into the loop for this epoch (mmpose's switch of pipelines does)."""
        loader, before = runner.train_loop.dataloader, self.places
        if isinstance(loader.batch_sampler, Places):
            return
        for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
            if sampler is not None and hasattr(sampler, "seed"):
                sampler.seed = runner.seed  # that hook gives none, so it is another one at every start
        place = runner.seed, runner.rank
        _leave_out_remainder(loader, runner.world_size)
        self.places = _take_over(loader, place, endless=before.endless, limit=before.limit)
        self.places.epoch, self.places.start = before.epoch, before.start
        _set_epoch(self.places.inner, before.epoch)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.done += 1

    def after_train_epoch(self, runner: Any) -> None:
        self.done = 0


def order_data(runner: Any, *, limit: int | None = None) -> DataOrderHook:
    """Build a Runner's loaders for training and validation so; before ``runner.train()``.

    Args:
        limit: batches an epoch and a validation, for debugging; a loop that counts iterations isn't shortened.
    """
    options = dict(seed=runner.seed, diff_rank_seed=runner._randomness_cfg.get("diff_rank_seed", False))
    loop = runner._train_loop
    endless = "iter" in str(loop.get("type", "")).lower() or not loop.get("by_epoch", True)
    place = runner.seed, runner.rank
    train = runner._train_dataloader = runner.build_dataloader(runner._train_dataloader, **options)
    _leave_out_remainder(train, runner.world_size)
    places = _take_over(train, place, endless=endless, limit=None if endless else limit)
    if runner._val_dataloader is not None:
        val = runner._val_dataloader = runner.build_dataloader(runner._val_dataloader, **options)
        _take_over(val, place, limit=limit)
    return DataOrderHook(places)


def _leave_out_remainder(loader: Any, processes: int) -> None:
    """Give each of several processes as many images of an epoch, none of them twice.

    mmengine fills up with the epoch's first images again; here what is left over is left out, in each epoch other
    images. With fewer images than processes some have to come twice.
    """
    sampler = getattr(loader.batch_sampler, "sampler", None)
    if processes == 1 or not isinstance(sampler, DefaultSampler) or not sampler.round_up:
        return
    images = len(sampler.dataset)
    if images >= processes:
        sampler.num_samples = images // processes
        sampler.total_size = sampler.num_samples * processes


def _take_over(loader: Any, place: tuple[int, int], **options: Any) -> Places:
    places = Places(loader.batch_sampler, **options)
    # DataLoader refuses these two once it is built, for the sake of iterators that there are none of yet.
    vars(loader).update(batch_sampler=places, dataset=SeededData(loader.dataset, *place))
    # Its workers' seeds come from a generator of their own: the training's stays where it is.
    loader.generator = torch.Generator().manual_seed(0)
    return places


@contextmanager
def _drawing(*place: int) -> Iterator[None]:
    """Python's, NumPy's and torch's generators seeded by ``place``; the training process gets its own back."""
    shared = get_worker_info() is None
    if shared:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed(*place)
    try:
        yield
    finally:
        if shared:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


def _seed(*place: int) -> None:
    words = np.random.SeedSequence(place).generate_state(4)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    # torch.manual_seed would reach for the GPUs too
    torch.default_generator.manual_seed(int(words[3]) << 32 | int(words[0]))


def _renew_caches(data: Any) -> None:
    owners = list(_cached(data))
    for transform in owners:
        transform.results_cache.clear()
    if owners:
        for index in np.random.randint(len(data), size=WARM_UP):
            data[int(index)]


def _cached(node: Any) -> Iterable[Any]:
    """The transforms below a data set that keep images."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _cached(item)
        return
    if isinstance(getattr(node, "results_cache", None), list):
        yield node
    for name in ("dataset", "datasets", "pipeline", "transforms"):
        inner = getattr(node, "__dict__", {}).get(name)
        if inner is not None:
            yield from _cached(inner)


def _set_epoch(batches: Any, epoch: int) -> None:
    for sampler in (getattr(batches, "sampler", None), batches):
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
            return
