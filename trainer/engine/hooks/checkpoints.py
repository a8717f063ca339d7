"""When checkpoints are made, and going on from one: always a whole file, whatever happens during a save.

What ``last`` means: training up to and including its epoch *and that epoch's validation*, or up to the batch
(``progress.batch``) where it was stopped. A long training stretch is also secured before its validation starts
(``pending_validation``); going on from such a file validates first.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from mmengine.hooks import EMAHook, Hook

from trainer.core.errors import ResourceError
from trainer.engine.batch_rescaling import scale_rate, scale_steps
from trainer.engine.checkpoint.file import rank_states, rng_state
from trainer.engine.checkpoint.training_state import (
    leave_validation,
    rank_state,
    restore_hooks,
    restore_rank,
    statistics,
    take_state,
)
from trainer.engine.checkpoint.writer import CheckpointWriter, Save
from trainer.engine.data_order import DataOrderHook
from trainer.engine.distributed.ranks import Ranks
from trainer.engine.failures import as_trainer_error
from trainer.engine.validation_point import validates
from trainer.runs.events.log import EventLog

logger = logging.getLogger("trainer")

# A validation that starts later than this after the last save is preceded by one.
UNSECURED_SECONDS = 60.0


class CheckpointsHook(Hook):
    """Replaces mmengine's CheckpointHook. Every process of a training has one; the first one's writes.

    Args:
        writer: takes what is to be saved.
        log: told of going on.
        about: goes into ``meta["trainer"]``: what inference must know, the config's text among it.
        order: where in the training data an epoch begins.
        ranks: the processes that train together.
        interval: epochs (iterations when not ``by_epoch``) between two saves of ``last``.
        save_best: the metric that decides ``best``; None for none.
        source: the checkpoint being resumed from, for the event.
    """

    priority = "LOWEST"  # after the schedulers' steps, the EMA's swap back, the early stopping

    def __init__(
        self,
        writer: CheckpointWriter,
        log: EventLog,
        about: dict[str, Any],
        order: DataOrderHook,
        ranks: Ranks,
        *,
        interval: int = 1,
        by_epoch: bool = True,
        save_best: str | None = None,
        source: str = "last",
    ) -> None:
        self.writer, self.log, self.about, self.order, self.ranks = writer, log, about, order, ranks
        self.interval, self.by_epoch = max(1, interval), by_epoch
        self.save_best, self.source = save_best, source
        self._resumed: dict[str, Any] | None = None
        self._saved_iter = -1
        self._saved_at = time.monotonic()
        self._value: float | None = None
        self._rng_before_val: dict[str, Any] | None = None

    # --- going on -------------------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        for hook in runner.hooks if runner._resume else ():
            if isinstance(hook, EMAHook):
                hook.strict_load = True

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if not runner._resume:
            return
        self._resumed = {
            "ranks": rank_states(checkpoint),
            **{key: checkpoint[key] for key in ("hooks", "progress")},
        }
        meta = checkpoint["meta"]
        self._resumed["events"] = meta.get("events")
        if meta["trainer"].get("fingerprint") != self.about.get("fingerprint"):
            self.log.emit("warning", message="the data set is not the one that this run was started on")
        self._place(runner, checkpoint, self._resumed["progress"])
        if (message := scale_rate(checkpoint, self.about.get("batch") or {})) is not None:
            self.log.emit("warning", message=message)
        from trainer.engine.checkpoint.file import as_current

        checkpoint["state_dict"] = as_current(runner.model, checkpoint["state_dict"])
        # Compared above by content; mmengine compares pickles, which differ for equal values.
        meta["dataset_meta"] = getattr(runner.train_dataloader.dataset, "metainfo", None)

    def _place(self, runner: Any, checkpoint: dict[str, Any], progress: dict[str, Any]) -> None:
        """Where in the epoch to go on; in proportion when an epoch has another number of batches by now."""
        if not _counts_epochs(runner):
            return
        meta = checkpoint["meta"]
        before, now = progress.get("batches"), self.order.places.whole
        batch = progress.get("batch", 0)
        if before and before != now:
            batch = batch * now // before
            meta["iter"] = meta["epoch"] * now + batch
            scale_steps(checkpoint, before, now)
            self.log.emit(
                "warning", message=f"an epoch has {now} batches by now, not {before} as when this was saved"
            )
        self.order.begin = batch

    def before_train(self, runner: Any) -> None:
        if self._resumed is None:
            return
        progress, states = self._resumed["progress"], self._resumed["ranks"]
        path = f"{self.writer.manifest.folder.name}/{self.source}.pth"
        self.log.emit(
            "resumed", path=path, epoch=runner.epoch, iter=runner.iter, events=self._resumed["events"]
        )
        self._saved_iter, self._value = runner.iter, progress["value"]
        restore_hooks(runner, self._resumed["hooks"])
        runner.train_loop.stop_training = progress["stopped_early"]
        if len(states) == self.ranks.size:
            restore_rank(runner, states[self.ranks.rank])
        else:
            message = f"saved by {len(states)} processes, gone on with by {self.ranks.size}: random states start anew"
            self.log.emit("warning", message=message)
        self._resumed = None
        if self.ranks.first and self.source == "last":
            self.writer.give_names(_unit(runner))
        if progress["pending_validation"] and runner.val_loop is not None:
            runner.val_loop.run()

    # --- saving ---------------------------------------------------------------------------------------------

    def before_train_epoch(self, runner: Any) -> None:
        self._value = None
        self.order.adopt(runner)  # this hook is the last: by now the epoch has its loader

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not _counts_epochs(runner):
            self._value = None
            self._after_training(runner, runner.epoch, runner.iter + 1, runner.iter + 1)

    def after_train_epoch(self, runner: Any) -> None:
        if _counts_epochs(runner):
            self._after_training(runner, runner.epoch + 1, runner.iter, runner.epoch + 1)

    def before_val(self, runner: Any) -> None:
        self.ranks.share(statistics(runner))
        self._rng_before_val = rng_state()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._rng_before_val = None
        if metrics is None:
            return
        value = metrics.get(self.save_best) if self.save_best else None
        self._value = None if value is None else float(value)
        count = runner.epoch if _counts_epochs(runner) else runner.iter
        stopped = runner.train_loop.stop_training
        better = self.ranks.most(int(self.ranks.first and self.writer.wanted(self._value)))
        if better or stopped or self._due(count, runner):
            self._save(runner, runner.epoch, runner.iter)

    def after_train(self, runner: Any) -> None:
        if self._saved_iter != runner.iter or self.ranks.most(int(self.writer.failed())):
            self._save(runner, runner.epoch, runner.iter)
        self.finish()
        if self.writer.error is not None:
            reason = as_trainer_error(self.writer.error).message
            raise ResourceError(f"training is done, but its last checkpoint couldn't be written: {reason}")

    def finish(self) -> None:
        """Wait until what is under way to the disk is there."""
        self.writer.wait()

    def save_interrupted(self, runner: Any) -> None:
        """Save within an epoch, after an iteration; going on starts with the next batch."""
        if _counts_epochs(runner):
            self._save(runner, runner.epoch, runner.iter + 1, batch=self.order.done)
        else:
            self._save(runner, runner.epoch, runner.iter + 1)
        self.finish()

    def save_unvalidated(self, runner: Any) -> None:
        """Save in the middle of a validation; it is run again on resume."""
        if self._saved_iter != runner.iter:
            leave_validation(runner)
            self._save(runner, runner.epoch, runner.iter, pending=True, rng=self._rng_before_val)
        self.finish()

    def save_finished_epoch(self, runner: Any, pending: bool) -> None:
        """Save at an epoch's end unless that was just done."""
        if self._saved_iter != runner.iter:
            done = runner.epoch + (pending and _counts_epochs(runner))
            follows = pending and _counts_epochs(runner) and validates(runner, done)
            self._save(runner, done, runner.iter, pending=follows)
        self.finish()

    def _after_training(self, runner: Any, epoch: int, iteration: int, count: int) -> None:
        if validates(runner, count):
            late = time.monotonic() - self._saved_at > UNSECURED_SECONDS
            if self.ranks.most(int(late)):
                self._save(runner, epoch, iteration, pending=True)
        elif self._due(count, runner):
            self._save(runner, epoch, iteration)

    def _due(self, count: int, runner: Any) -> bool:
        if count == self._last(runner) or (self.writer.keep.every and count % self.writer.keep.every == 0):
            return True
        return _counts_epochs(runner) == self.by_epoch and count % self.interval == 0

    def _last(self, runner: Any) -> int:
        return runner.max_epochs if _counts_epochs(runner) else runner.max_iters

    def _save(
        self, runner: Any, epoch: int, iteration: int, *, pending: bool = False, rng: Any = None, **place: int
    ) -> None:
        """Take the state and hand it to the writer. All processes have to.

        Args:
            place: ``batch``: batches trained on in an epoch that isn't through.
        """
        self.ranks.share(statistics(runner))
        states = self.ranks.gather(rank_state(runner, rng, place.get("batch", 0)))
        self._saved_iter, self._saved_at = iteration, time.monotonic()
        if not self.ranks.first:
            return
        self.writer.wait()  # two copies in memory at most: the training's and the one being written
        progress = {
            "pending_validation": pending,
            "value": self._value,
            "batches": self.order.places.whole,
            **place,
        }
        content = take_state(runner, epoch, iteration, states, self.about, **progress)
        content["meta"]["events"] = self.log.cursor
        facts = {"epoch": epoch, "iter": iteration, "metric": self.save_best, "value": self._value, **place}
        if pending:
            facts["pending_validation"] = True
        self.writer.put(Save(content, facts, _unit(runner)))


def _counts_epochs(runner: Any) -> bool:
    return not hasattr(runner.train_loop, "dataloader_iterator")


def _unit(runner: Any) -> str:
    return "epoch" if _counts_epochs(runner) else "iter"
