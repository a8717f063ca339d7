"""Training's numbers as events. Between two log intervals it does next to nothing; the log writes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook

from trainer.engine.distributed.ranks import Ranks
from trainer.engine.metrics.per_class_names import split_per_class
from trainer.engine.validation_point import validates
from trainer.runs.events.log import EventLog

TIMES = ("time", "data_time")


class EventsHook(Hook):
    """Emits ``train``, ``epoch`` and ``validation`` events.

    The numbers come out of mmengine's MessageHub, where its own hooks have put each iteration's already.

    Args:
        log: where to.
        interval: iterations between two train events.
        about: the run's identity, for ``run_started``.
        ranks: the processes that train together. Losses are the means over all of them, so each has this hook.
    """

    priority = "BELOW_NORMAL"  # after the timer and the runtime info, as mmengine's LoggerHook

    def __init__(
        self, log: EventLog, interval: int, about: dict[str, Any], ranks: Ranks | None = None
    ) -> None:
        self.log, self.about, self.ranks = log, about, ranks or Ranks()
        self.interval = max(1, interval)
        self._since = 0  # iterations since the last train event
        self._in_epoch = 0
        self._warned = False

    def before_train(self, runner: Any) -> None:
        self._start_time, self._start_iter = time.time(), runner.iter
        weights = [weight for weight in runner.model.parameters() if weight.requires_grad]
        self.log.emit(
            "run_started",
            **self.about,
            epochs=runner.max_epochs if self._by_epoch(runner) else None,
            iterations=runner.max_iters,
            epoch_iterations=len(runner.train_dataloader),
            parameters=sum(weight.numel() for weight in weights),
            batch_size=_batch_size(runner.train_dataloader) * runner.world_size,
            device=weights[0].device.type if weights else "cpu",
            resumed=bool(runner._resume),
        )

    def before_train_epoch(self, runner: Any) -> None:
        # More than none when this attempt goes on in the middle of an epoch.
        length = runner.max_iters // runner.max_epochs if self._by_epoch(runner) else runner.max_iters
        self._in_epoch = runner.iter % max(1, length)
        self._since = min(self._in_epoch, runner.iter % self.interval)
        self._epoch_time = time.time()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        self._since += 1
        self._in_epoch += 1
        done = runner.iter + 1
        if done % self.interval and not (
            self._by_epoch(runner) and self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            return
        means = _means(runner, self._since)
        losses, lr = self.ranks.mean(_losses(means)), means.get("lr")
        left = runner.max_iters - done
        eta = (time.time() - self._start_time) / max(1, done - self._start_iter) * left
        event = {
            "epoch": _epoch(runner, done),
            "iter": done,
            "lr": _current(runner, "lr") if lr is not None else None,
            "losses": losses,
            "seconds": means.get("time", 0.0),
            "data_seconds": means.get("data_time", 0.0),
            "eta": eta,
        }
        memory = _gpu_memory()
        if memory is not None:
            event["memory_mb"] = memory
        self.log.emit("train", **event)
        self._warn_once(losses, done)
        if runner.visualizer is not None and runner.visualizer._vis_backends:
            runner.visualizer.add_scalars({**losses, "lr": event["lr"] or 0.0}, step=done)
        self._since = 0

    def after_train_epoch(self, runner: Any) -> None:
        if not self._by_epoch(runner) or not self._in_epoch:
            return
        means = _means(runner, self._in_epoch)
        self.log.emit(
            "epoch",
            epoch=runner.epoch + 1,
            iter=runner.iter,
            losses=self.ranks.mean(_losses(means)),
            lr=_current(runner, "lr"),
            seconds=time.time() - self._epoch_time,
            validates=validates(runner, runner.epoch + 1),
        )

    def before_val_epoch(self, runner: Any) -> None:
        self._val_time = time.time()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        flat, per_class = split_per_class(metrics or {})
        self.log.emit(
            "validation",
            epoch=_epoch(runner, runner.iter) if not self._by_epoch(runner) else runner.epoch,
            iter=runner.iter,
            metrics=flat,
            per_class=per_class,
            seconds=time.time() - self._val_time,
            latency=_latency(runner),
        )
        if runner.visualizer is not None and runner.visualizer._vis_backends:
            runner.visualizer.add_scalars(flat, step=runner.iter)

    def _by_epoch(self, runner: Any) -> bool:
        return not hasattr(runner.train_loop, "dataloader_iterator")

    def _warn_once(self, losses: dict[str, float], done: int) -> None:
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad and not self._warned:
            self._warned = True
            self.log.emit("warning", message=f"{', '.join(bad)} is not a finite number at iteration {done}")


def _means(runner: Any, window: int) -> dict[str, float]:
    scalars = runner.message_hub.log_scalars
    names: Sequence[str] = [name for name in scalars if name.startswith("train/")]
    return {name.removeprefix("train/"): float(scalars[name].mean(window)) for name in names}


def _losses(means: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in means.items() if name not in TIMES and not name.endswith("lr")}


def _current(runner: Any, name: str) -> float | None:
    buffer = runner.message_hub.log_scalars.get(f"train/{name}")
    return None if buffer is None else float(buffer.current())


def _batch_size(loader: Any) -> int:
    return loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1


def _latency(runner: Any) -> float | None:
    """Milliseconds an image of the validation that has just ended: the median, which the first batch doesn't sway."""
    scalars = runner.message_hub.log_scalars
    buffers = [scalars.get(f"val/{name}") for name in TIMES]
    if None in buffers or not len(runner.val_dataloader):
        return None
    whole, loading = (buffer.data[0][-len(runner.val_dataloader) :] for buffer in buffers)
    batches = sorted(float(total - waited) for total, waited in zip(whole, loading, strict=False))
    return (
        round(1000 * batches[len(batches) // 2] / _batch_size(runner.val_dataloader), 3) if batches else None
    )


def _epoch(runner: Any, done: int) -> int:
    """The epoch of the ``done``-th iteration, 1-based; counted by data for loops that count iterations."""
    if not hasattr(runner.train_loop, "dataloader_iterator"):
        return runner.epoch + 1
    return max(1, math.ceil(done / max(1, len(runner.train_dataloader))))


def _gpu_memory() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None
