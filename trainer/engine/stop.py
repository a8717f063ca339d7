"""Ctrl-C and SIGTERM: the first stops after the current iteration and saves, the second stops at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from mmengine.hooks import Hook

from trainer.engine.checkpoint_hook import CheckpointsHook

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Training ended because somebody asked; ``saved`` is the checkpoint kept, if any.

    Not an Exception: nothing that catches errors may swallow it.
    """

    def __init__(self, signum: int, saved: str | None) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.saved = signum, saved


class StopSignals:
    """Holds the two signals while training runs; the handlers from before come back when the block ends."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.training = False  # before the first iteration there is nothing to save
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopSignals:
        try:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        except ValueError:
            self._before.clear()  # not the main thread: whoever owns it decides
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A forked data loader worker. Ctrl-C reaches it too, but it must go on until the training
            # process is through with the iteration; SIGTERM is how that process ends it.
            if signum == signal.SIGTERM:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        first, self.received = self.received is None, signum
        if not (first and self.training):
            raise Stopped(signum, None)


class StopHook(Hook):
    """Looks at the flag between iterations. Registered after the checkpoints' hook."""

    priority = "LOWEST"

    def __init__(self, signals: StopSignals, checkpoints: CheckpointsHook) -> None:
        self.signals, self.checkpoints = signals, checkpoints

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.signals.training = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.signals.received is None:
            return
        by_epoch = not hasattr(runner.train_loop, "dataloader_iterator")
        if not (by_epoch and self.end_of_epoch(runner.train_dataloader, batch_idx)):
            self._stop(self.checkpoints.save_interrupted(runner))

    def after_train_epoch(self, runner: Any) -> None:
        if self.signals.received is not None:
            self._stop(self.checkpoints.save_finished_epoch(runner, pending=True))

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.signals.received is not None:
            self._stop(self.checkpoints.save_unvalidated(runner))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if self.signals.received is not None and metrics is not None:
            self._stop(self.checkpoints.save_finished_epoch(runner, pending=False))

    def _stop(self, entry: dict[str, Any]) -> None:
        assert self.signals.received is not None
        raise Stopped(self.signals.received, f"{self.checkpoints.manifest.folder.name}/last.pth")
