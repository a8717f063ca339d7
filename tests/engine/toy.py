"""A real MMEngine training that takes a second: a small network on made-up images, with every source of
randomness.

Run as a program it trains in a fresh process: ``python toy.py <run dir> key=value ...``.
"""

from __future__ import annotations

import ast
import os
import random
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

from trainer.config.schema import Experiment  # noqa: E402
from trainer.data.bundle import DataBundle, Split  # noqa: E402
from trainer.engine.fit import fit  # noqa: E402
from trainer.run import Run  # noqa: E402


@HOOKS.register_module(force=True)
class DieBeforeEpoch(Hook):
    """kill -9, as far as a process can tell."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train_epoch(self, runner: Any) -> None:
        if runner.epoch == self.epoch:
            os._exit(9)


@HOOKS.register_module(force=True)
class SignalAt(Hook):
    """Sends this process a signal at an iteration of training, or of the validation when ``val``."""

    def __init__(self, iteration: int, signum: int = 2, val: bool = False, times: int = 1) -> None:
        self.iteration, self.signum, self.val, self.times = iteration, signum, val, times

    def _send(self, now: int) -> None:
        if now == self.iteration:
            for _ in range(self.times):
                os.kill(os.getpid(), self.signum)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if not self.val:
            self._send(runner.iter)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if self.val and batch_idx == 1:
            self._send(runner.iter)


CLASSES = ("cat", "a/dog")


@DATASETS.register_module(force=True)
class ToyData:
    metainfo = {"classes": CLASSES, "palette": [(0, 0, 0), (1, 1, 1)]}

    def __init__(self, length: int = 24, fail_at: int = -1, slow: float = 0.0) -> None:
        self.length, self.fail_at, self.slow = length, fail_at, slow

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.fail_at:
            raise FileNotFoundError(2, "No such file or directory", "/data/missing.jpg")
        time.sleep(self.slow)
        image = torch.full((3, 8, 8), index / self.length)
        noise = (
            random.random() + np.random.rand() + torch.rand(()).item()
        )  # an augmentation from all generators
        return {"inputs": image + 0.1 * noise, "data_samples": torch.tensor(index % 2)}


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(self, error: str | None = None) -> None:
        super().__init__()
        self.error = error
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 2)
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
    ema: bool = True,
    by_iter: bool = False,
    scores: list[float] | None = None,
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    hooks: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Config:
    """A complete config; four batches an epoch."""
    loader = dict(
        batch_size=6,
        num_workers=workers,
        dataset=dict(type="ToyData", **(data or {})),
        sampler=dict(type="InfiniteSampler" if by_iter else "DefaultSampler", shuffle=True),
    )
    config = dict(
        default_scope="mmengine",
        work_dir="overwritten",
        model=dict(type="ToyModel", **(model or {})),
        train_dataloader=loader,
        val_dataloader={
            **loader,
            "dataset": dict(type="ToyData"),
            "sampler": dict(type="DefaultSampler", shuffle=False),
        },
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4 * epochs, val_interval=4)
        if by_iter
        else dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=1),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=dict(type="ToyMetric", scores=scores),
        optim_wrapper=dict(
            type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.02), clip_grad=dict(max_norm=5.0)
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
    return fit(toy_config(**config), run, exp or toy_experiment(), toy_bundle())


if __name__ == "__main__":
    options = {key: ast.literal_eval(value) for key, value in (item.split("=", 1) for item in sys.argv[2:])}
    experiment = toy_experiment(
        **{key[4:]: options.pop(key) for key in list(options) if key.startswith("exp_")}
    )
    torch.set_num_threads(1)
    result = toy_fit(Run.open(sys.argv[1]), experiment, **options)
    sys.exit(result.exit_code)
