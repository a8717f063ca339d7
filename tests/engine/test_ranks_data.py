"""Which images each of several processes gets, what each draws, and what they learn together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from trainer.engine.checkpoint.file import load
from trainer.engine.data_order import _leave_out_remainder
from trainer.runs.events.reader import events
from trainer.runs.run import Run

# No batch normalisation, no dropout, nothing drawn: what is left hangs on the images of a step alone.
PLAIN: dict[str, Any] = {
    "epochs": 5,
    "model": {"batch_norm": False, "dropout": 0.0},
    "data": {"noise": 0.0},
    "val_data": {"noise": 0.0},
    "exp_runtime__log_interval": 1,
    "default_hooks": {
        "checkpoint": {"type": "CheckpointHook"},
        "logger": {"type": "LoggerHook", "interval": 1},
    },
}


def orders(images: int, processes: int, epoch: int) -> list[list[int]]:
    found = []
    for rank in range(processes):
        sampler = DefaultSampler(list(range(images)), seed=3)
        sampler.rank, sampler.world_size = rank, processes
        sampler.num_samples = -(-images // processes)
        sampler.total_size = sampler.num_samples * processes
        loader = DataLoader(list(range(images)), sampler=sampler)
        _leave_out_remainder(loader, processes)
        sampler.set_epoch(epoch)
        assert len(sampler) == len(found[0] if found else list(sampler))
        found.append(list(sampler))
    return found


@pytest.mark.parametrize(("images", "processes"), [(24, 2), (25, 2), (9, 8), (7, 3), (100, 7)])
def test_no_image_comes_twice_in_an_epoch(images: int, processes: int) -> None:
    seen: Counter[int] = Counter()
    for epoch in range(200):
        split = orders(images, processes, epoch)
        together = [index for one in split for index in one]
        assert len(set(together)) == len(together) == images - images % processes
        assert len({len(one) for one in split}) == 1
        seen.update(together)
    assert set(seen) == set(range(images))  # what is left out differs from epoch to epoch


def test_more_processes_than_images_share_them() -> None:
    split = orders(3, 4, 0)
    assert [len(one) for one in split] == [1] * 4 and {i for one in split for i in one} == {0, 1, 2}


def losses(run: Run) -> torch.Tensor:
    return torch.tensor([event["losses"]["loss"] for event in events(run.events) if event["type"] == "train"])


def scores(run: Run) -> list[float]:
    return [event["metrics"]["score"] for event in events(run.events) if event["type"] == "validation"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_learn_as_one_with_the_doubled_batch(
    tmp_path: Path, forks: Any, accumulate: int
) -> None:
    # Adam would blow the rounding of gradients that are nearly 0 up to whole steps.
    options = {**PLAIN, "optimizer": "SGD", "accumulate": accumulate}
    alone, pair = Run.create(tmp_path, "toy", "alone"), Run.create(tmp_path, "toy", "pair")
    assert forks.train(alone, **options, batch_size=6).wait() == 0
    forked = forks.train_together(pair, **options, batch_size=3)
    assert [one.wait() for one in forked] == [0, 0], forked[0].output
    assert len(losses(alone)) == 20
    torch.testing.assert_close(losses(pair), losses(alone), rtol=2e-5, atol=1e-6)
    assert scores(pair) == pytest.approx(scores(alone), rel=2e-5)
    batches = [event["batch"] for run in (alone, pair) for event in events(run.events) if "batch" in event]
    assert [batch["effective"] for batch in batches] == [6 * accumulate] * 2
    assert [batch["processes"] for batch in batches] == [1, 2]


def test_each_image_is_trained_on_and_validated_once(tmp_path: Path, forks: Any) -> None:
    """23 images: one is left out of an epoch's training, none of the validation, and none counts twice there."""
    frozen = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}}
    options = {
        **PLAIN,
        "epochs": 1,
        "batch_size": 1,
        "optim_wrapper": frozen,
        "val_data": {"length": 23, "noise": 0.0},
    }
    alone, pair = Run.create(tmp_path, "toy", "alone"), Run.create(tmp_path, "toy", "pair")
    seen = tmp_path / "seen"
    seen.mkdir()
    assert forks.train(alone, **options).wait() == 0
    forked = forks.train_together(pair, **{**options, "data": {"length": 23, "seen": str(seen)}})
    assert [one.wait() for one in forked] == [0, 0], forked[0].output
    images = [[int(line) for line in (seen / f"{rank}.txt").read_text().split()] for rank in (0, 1)]
    assert [len(one) for one in images] == [11, 11] and len(set(images[0] + images[1])) == 22
    assert scores(pair) == scores(alone)
    states = load(pair.checkpoints / "last.pth")["ranks"]
    assert not torch.equal(states[0]["rng"]["torch"], states[1]["rng"]["torch"])  # for dropout
    assert names(pair) == names(alone)


def names(run: Run) -> list[str]:
    return sorted(str(path.relative_to(run.dir)) for path in run.dir.rglob("*"))
