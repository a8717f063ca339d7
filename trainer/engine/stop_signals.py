"""Ctrl-C, SIGTERM, a sweep's pruning and the time that a run may take: the first stops after the current iteration
and saves, a second signal stops at once. Processes that train together stop after the same iteration.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import time
from types import FrameType
from typing import Any

from mmengine.hooks import Hook

from trainer.engine.distributed.ranks import Ranks
from trainer.engine.hooks.checkpoints import CheckpointsHook

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


# Of the training that this process, or the one it was forked from, is in: a byte that both see, 1 when it is over.
_over: mmap.mmap | None = None


class StopSignals:
    """Holds the signals while training runs; the handlers from before come back when the block ends.

    Args:
        patience: seconds in which a second signal counts as the first one once more.
        several: whether this is one of several processes. As soon as one of them has ended, what started them tells
            the others to end: then SIGTERM is heeded no more once the training has ended, not even after the block.
    """

    def __init__(self, patience: float = 0.0, several: bool = False) -> None:
        self.received: int | None = None
        self.training = False  # before the first iteration there is nothing to save
        self._patience, self._first_at = patience, 0.0
        self._several, self._ending = several, False
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def ending(self) -> None:
        """What ended the training is known: signals don't cut off the rest where there are several processes."""
        self._ending = self._several

    def wait(self, seconds: float) -> int | None:
        """The signal that was received, or is within so many seconds; None while training hasn't begun."""
        until = time.monotonic() + seconds
        while self.received is None and self.training and time.monotonic() < until:
            time.sleep(0.05)
        return self.received

    def __enter__(self) -> StopSignals:
        global _over
        _over = mmap.mmap(-1, 1)
        try:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        except ValueError:
            self._before.clear()  # not the main thread: whoever owns it decides
        return self

    def __exit__(self, *error: object) -> None:
        if _over is not None:
            _over[0] = 1
        for number, handler in self._before.items():
            deaf = self._several and number == signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if deaf else handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A process forked from this one. Ctrl-C reaches it too, but the training process may still want
            # something of it; SIGTERM is how that one ends it.
            if signum == signal.SIGTERM:
                if multiprocessing.parent_process() is None:
                    _die(signum)
                _end_worker(signum, frame)  # a data loader's, before it has called outlive_sigterm
            return
        if self._ending:
            return
        now = time.monotonic()
        first, self.received = self.received is None, self.received or signum
        if first:
            self._first_at = now
        elif now - self._first_at < self._patience:
            return
        if not (first and self.training):
            raise Stopped(signum, None)


def outlive_sigterm() -> None:
    """In a data loader process: SIGTERM is for the training, which still wants its batch, as long as that runs.

    torchrun and SLURM send it to all processes there are. (torch's own handler ends the worker, and an exception in
    the training process, before anything is saved.)
    """
    if _over is not None:
        signal.signal(signal.SIGTERM, _end_worker)


def _end_worker(signum: int, frame: FrameType | None) -> None:
    if _over is None or _over[0] or os.getppid() != _parent():
        _die(signum)


def _die(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _parent() -> int:
    parent = multiprocessing.parent_process()
    return parent.pid or 0 if parent is not None else os.getppid()


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
        self._together = True  # validates as many batches as the other processes do

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.signals.training = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._reason = self._reason or self._asked()
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

    def before_val_epoch(self, runner: Any) -> None:
        batches = len(runner.val_dataloader)
        self._together = self.ranks.most(batches) == -self.ranks.most(-batches)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self._together and (reason := self._asked()):
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

    def _asked(self) -> int:
        return self.ranks.most_lately(self._flag()) if self.ranks.size > 1 else self._flag()

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
