"""A real MMEngine training that takes a second: a small network on made-up images, with every source of
randomness.

:func:`main` trains as a program does; ``forks.py`` calls it in processes of their own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from trainer.engine import compat

compat.apply()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS  # noqa: E402
from torch import nn  # noqa: E402

import trainer.engine.amp  # noqa: E402, F401 - registers CpuAmpOptimWrapper
from trainer.core.errors import TrainerError  # noqa: E402
from trainer.data.bundle import DataBundle, Split  # noqa: E402
from trainer.engine.distributed import rank_watchdog  # noqa: E402
from trainer.engine.distributed.join import join  # noqa: E402
from trainer.engine.train import run_training  # noqa: E402
from trainer.runs.run import Run  # noqa: E402
from trainer.schema import Experiment  # noqa: E402


@HOOKS.register_module(force=True)
class KillAt(Hook):
    """kill -9 before an iteration, in all processes or in one."""

    def __init__(self, iteration: int, rank: int | None = None) -> None:
        self.iteration, self.rank = iteration, rank

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.iteration and self.rank in (None, runner.rank):
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module(force=True)
class FailAt(Hook):
    """An error before an iteration, in one of several processes."""

    def __init__(self, iteration: int, rank: int, memory: bool = False) -> None:
        self.iteration, self.rank, self.memory = iteration, rank, memory

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.iteration and runner.rank == self.rank:
            if self.memory:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            raise FileNotFoundError(2, "No such file or directory", "/data/missing.jpg")


@HOOKS.register_module(force=True)
class HangAt(Hook):
    """From an iteration on, one of several processes waits, as for a step on a GPU that never comes."""

    def __init__(self, iteration: int, rank: int) -> None:
        self.iteration, self.rank = iteration, rank

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.iteration and runner.rank == self.rank:
            time.sleep(3600)


@HOOKS.register_module(force=True)
class SignalAt(Hook):
    """Sends this process a signal at an iteration of training, or of the validation when ``val``."""

    def __init__(
        self, iteration: int, signum: int = 2, val: bool = False, times: int = 1, rank: int = 0
    ) -> None:
        self.iteration, self.signum, self.val, self.times = iteration, signum, val, times
        self.rank = rank

    def _send(self, now: int) -> None:
        if now == self.iteration:
            for _ in range(self.times):
                os.kill(os.getpid(), self.signum)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if not self.val and runner.rank == self.rank:
            self._send(runner.iter)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if self.val and batch_idx == 1:
            self._send(runner.iter)


CLASSES = ("cat", "a/dog")


@DATASETS.register_module(force=True)
class ToyData:
    metainfo = {"classes": CLASSES, "palette": [(0, 0, 0), (1, 1, 1)]}

    def __init__(
        self,
        length: int = 24,
        fail_at: int = -1,
        slow: float = 0.0,
        cached: bool = False,
        noise: float = 0.1,
        seen: str = "",
    ) -> None:
        self.length, self.fail_at, self.slow, self.noise, self.seen = length, fail_at, slow, noise, seen
        self.pipeline = [ToyMix()] if cached else []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.fail_at:
            raise FileNotFoundError(2, "No such file or directory", "/data/missing.jpg")
        time.sleep(self.slow)
        if self.seen:
            with open(f"{self.seen}/{os.environ.get('RANK', '0')}.txt", "a", encoding="utf-8") as file:
                file.write(f"{index}\n")
        image = torch.full((3, 8, 8), index / self.length)
        noise = (
            random.random() + np.random.rand() + torch.rand(()).item()
        )  # an augmentation from all generators
        image = image + self.noise * noise
        for transform in self.pipeline:
            image = transform(image)
        return {"inputs": image, "data_samples": torch.tensor(index % 2)}


class ToyMix:
    """MixUp with one of the images that this process has seen lately, as mmdet's cached transforms do it."""

    def __init__(self) -> None:
        self.results_cache: list[torch.Tensor] = []

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        self.results_cache.append(image)
        if len(self.results_cache) > 20:
            self.results_cache.pop(random.randrange(len(self.results_cache)))
        return 0.5 * image + 0.5 * random.choice(self.results_cache)


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(
        self, error: str | None = None, outputs: int = 2, batch_norm: bool = True, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.error = error
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4) if batch_norm else nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(144, outputs),
        )

    def forward(self, inputs: list[Any], data_samples: list[Any], mode: str = "tensor") -> Any:
        if self.error == "oom":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        logits, truth = self.net(torch.stack(inputs)), torch.stack(data_samples)
        if mode == "loss":
            loss = nn.functional.cross_entropy(logits, truth)
            return {"loss_cls": loss, "loss_reg": logits.square().mean() * 0.01}
        return list(zip(logits.softmax(-1), truth, strict=True))


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """``scores`` sets the score of each validation; else it is the mean probability of the truth."""

    def __init__(self, scores: list[float] | None = None) -> None:
        super().__init__()
        self.scores = list(scores or [])

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [float(p[t]) for p, t in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        score = self.scores.pop(0) if self.scores else float(np.mean(results))
        return {"score": score, "other": 1.0, "per_class/cat/AP": 0.5, "per_class/a/dog/AP": 0.25}


def toy_config(
    epochs: int = 4,
    *,
    workers: int = 0,
    persistent: bool = False,
    ema: bool = True,
    optimizer: str = "AdamW",
    amp: bool = False,
    accumulate: int = 1,
    by_iter: bool = False,
    sampler: str | None = None,
    batch_size: int = 6,
    scores: list[float] | None = None,
    data: dict[str, Any] | None = None,
    val_data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    hooks: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Config:
    """A complete config; four batches an epoch."""
    loader = dict(
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=persistent,
        dataset=dict(type="ToyData", **(data or {})),
        sampler=dict(type=sampler or ("InfiniteSampler" if by_iter else "DefaultSampler"), shuffle=True),
    )
    config = dict(
        default_scope="mmengine",
        work_dir="overwritten",
        model=dict(type="ToyModel", **(model or {})),
        train_dataloader=loader,
        val_dataloader={
            **loader,
            "dataset": dict(type="ToyData", **(val_data or {})),
            "sampler": dict(type="DefaultSampler", shuffle=False),
        },
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4 * epochs, val_interval=4)
        if by_iter
        else dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=1),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=dict(type="ToyMetric", scores=scores),
        optim_wrapper=dict(
            type="CpuAmpOptimWrapper" if amp else "OptimWrapper",
            optimizer=dict(type=optimizer, lr=0.02, **({"momentum": 0.9} if optimizer == "SGD" else {})),
            accumulative_counts=accumulate,
            clip_grad=dict(max_norm=5.0),
        ),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
            dict(type="CosineAnnealingLR", T_max=epochs, by_epoch=not by_iter, begin=0, end=epochs),
        ],
        default_hooks=dict(
            checkpoint=dict(
                type="CheckpointHook",
                interval=4 if by_iter else 1,
                by_epoch=not by_iter,
                save_best="score",
                rule="greater",
            ),
            logger=dict(type="LoggerHook", interval=2),
        ),
        custom_hooks=([dict(type="EMAHook", momentum=0.1)] if ema else []) + (hooks or []),
        randomness=dict(seed=3),
    )
    return Config({**config, **changes})


def toy_experiment(**changes: Any) -> Experiment:
    exp = Experiment()
    exp.task.primary_metric = "score"
    exp.model.name, exp.dataset.name = "toy", "made-up"
    exp.tracking.plots, exp.tracking.samples_every = False, 0  # the toy's answers can't be drawn
    for key, value in changes.items():
        node, _, leaf = key.rpartition("__")
        setattr(getattr(exp, node) if node else exp, leaf, value)
    return exp


def toy_bundle() -> DataBundle:
    split = Split("train", Path("images"), Path("ann.json"), 24, 24)
    palette = ((0, 0, 0), (1, 1, 1))
    return DataBundle(
        "made-up", "detection", Path("."), CLASSES, palette, {"train": split, "val": split}, "f" * 64
    )


def toy_fit(run: Run, exp: Experiment | None = None, **config: Any) -> Any:
    return run_training(toy_config(**config), run, exp or toy_experiment(), toy_bundle())


def warm_up() -> None:
    """Import what a training imports on its way, for processes that are forked to train: two thirds of its time."""
    for name in (
        *("setuptools", "mmcv.ops", "matplotlib.backends.backend_agg"),
        *("torch._dynamo", "torch.distributed", "torch.nn.parallel", "matplotlib.pyplot", "rich.progress"),
        *("trainer.engine.data_order", "trainer.engine.runner", "trainer.engine.hooks.checkpoints"),
        *("trainer.engine.hooks.events", "trainer.engine.hooks.profile", "trainer.engine.stop_signals"),
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector would copy what is shared with the forks


def main(folder: str, options: dict[str, Any]) -> int:
    """Train in the run directory ``folder``; options are toy_config's, or the experiment's behind ``exp_``."""
    options = dict(options)
    given = {key[4:]: options.pop(key) for key in list(options) if key.startswith("exp_")}
    experiment = toy_experiment(**given)
    torch.set_num_threads(1)
    rank_watchdog.GRACE_SECONDS = options.pop("grace", rank_watchdog.GRACE_SECONDS)
    ranks = join(experiment)
    try:
        return run_training(
            toy_config(**options), Run.open(folder), experiment, toy_bundle(), ranks=ranks
        ).exit_code
    except TrainerError as error:
        print(f"{error.kind}: {error.message}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":  # as torchrun starts it
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
