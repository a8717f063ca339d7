"""Ctrl-C, SIGTERM, a sweep's pruning and the time that a run may take: the first stops after the current iteration
and saves, a second signal stops at once. Processes that train together stop after the same iteration.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from mmengine.hooks import Hook

from trainer.engine.checkpoint_hook import CheckpointsHook
from trainer.engine.distributed import Ranks

# From a sweep's driver: enough is known about this trial. Windows has no such signal.
PRUNE: int | None = getattr(signal, "SIGUSR1", None)
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([PRUNE] if PRUNE else []))
OUT_OF_TIME = 255  # beside the signals' numbers
# A terminal's Ctrl-C reaches each process of a group, and once more through the one that started them.
ONE_CTRL_C = 5.0


class Stopped(BaseException):
    """Training ended because somebody asked; ``saved`` is the checkpoint kept, if any.

    Not an Exception: nothing that catches errors may swallow it.
    """

    def __init__(self, signum: int, saved: str | None) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.saved = signum, saved

    @property
    def pruned(self) -> bool:
        return self.signum == PRUNE


class OutOfTime(BaseException):
    """The time that was set for this attempt is over; what was trained is saved."""


class StopSignals:
    """Holds the signals while training runs; the handlers from before come back when the block ends.

    Args:
        patience: seconds in which a second signal counts as the first one once more.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.received: int | None = None
        self.training = False  # before the first iteration there is nothing to save
        self._patience, self._first_at = patience, 0.0
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
        now = time.monotonic()
        first, self.received = self.received is None, self.received or signum
        if first:
            self._first_at = now
        elif now - self._first_at < self._patience:
            return
        if not (first and self.training):
            raise Stopped(signum, None)


class StopHook(Hook):
    """Looks at the flag between iterations. Registered after the checkpoints' hook.

    Args:
        ranks: the processes that train together.
        seconds: how long this attempt may take from now on; None for as long as it needs.
    """

    priority = "LOWEST"

    def __init__(
        self, signals: StopSignals, checkpoints: CheckpointsHook, ranks: Ranks, seconds: float | None = None
    ) -> None:
        self.signals, self.checkpoints, self.ranks = signals, checkpoints, ranks
        self._until = None if seconds is None else time.monotonic() + seconds
        self._reason = 0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.signals.training = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._reason = self._reason or self.ranks.most_lately(self._flag())
        if not self._reason:
            return
        by_epoch = not hasattr(runner.train_loop, "dataloader_iterator")
        if not (by_epoch and self.end_of_epoch(runner.train_dataloader, batch_idx)):
            self.checkpoints.save_interrupted(runner)
            self._stop()

    def after_train_epoch(self, runner: Any) -> None:
        self._reason = self._reason or self.ranks.most(self._flag())
        if self._reason:
            self.checkpoints.save_finished_epoch(runner, pending=True)
            self._stop()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # Several processes finish the validation: they may have different numbers of images in it.
        if self.ranks.size == 1 and (reason := self._flag()):
            self._reason = reason
            self.checkpoints.save_unvalidated(runner)
            self._stop()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if metrics is None:
            return
        self._reason = self._reason or self.ranks.most(self._flag())
        if self._reason and not self._done(runner):
            self.checkpoints.save_finished_epoch(runner, pending=False)
            self._stop()

    def _flag(self) -> int:
        late = self._until is not None and time.monotonic() > self._until
        return self.signals.received or (OUT_OF_TIME if late else 0)

    def _done(self, runner: Any) -> bool:
        """Whether nothing is left to train, and the run ends by itself."""
        loop, counts = runner.train_loop, hasattr(runner.train_loop, "dataloader_iterator")
        through = runner.iter >= loop.max_iters if counts else runner.epoch >= loop.max_epochs
        return self._reason == OUT_OF_TIME and (through or loop.stop_training)

    def _stop(self) -> None:
        if self._reason == OUT_OF_TIME:
            raise OutOfTime
        kept = self.checkpoints.writer.manifest
        raise Stopped(self._reason, None if self.checkpoints.writer.error else f"{kept.folder.name}/last.pth")
