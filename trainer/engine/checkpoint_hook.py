"""The best and the last checkpoint: always one whole file of each, whatever happens during a save.

What ``last`` means: training up to and including its epoch *and that epoch's validation*. A long training
stretch is also secured before its validation starts (``pending_validation``); going on from such a file
validates first.
"""

from __future__ import annotations

import bisect
import time
from typing import Any

import mmengine
import torch
from mmengine.hooks import EarlyStoppingHook, EMAHook, Hook
from mmengine.model import is_model_wrapper

from trainer.engine.checkpoint_file import pack_hub, plain, restore_rng, rng_state
from trainer.engine.manifest import Manifest
from trainer.events.log import EventLog

# A validation that starts later than this after the last save is preceded by one.
UNSECURED_SECONDS = 60.0


class CheckpointsHook(Hook):
    """Replaces mmengine's CheckpointHook.

    Args:
        manifest: the folder of checkpoints.
        log: told of each save.
        about: goes into ``meta["trainer"]``: what inference must know, the config's text among it.
        interval: epochs (iterations when not ``by_epoch``) between two saves of ``last``.
        save_best: the metric that decides ``best``; None for none.
        rule: ``greater`` or ``less``.
        source: the checkpoint being resumed from, for the event.
    """

    priority = "LOWEST"  # after the schedulers' steps, the EMA's swap back, the early stopping

    def __init__(
        self,
        manifest: Manifest,
        log: EventLog,
        about: dict[str, Any],
        *,
        interval: int = 1,
        by_epoch: bool = True,
        save_best: str | None = None,
        rule: str = "greater",
        source: str = "last",
    ) -> None:
        self.manifest, self.log, self.about = manifest, log, about
        self.interval, self.by_epoch = max(1, interval), by_epoch
        self.save_best, self.rule, self.source = save_best, rule, source
        self.best: float | None = None
        self._resumed: dict[str, Any] | None = None
        self._saved_iter = -1
        self._saved_at = time.monotonic()
        self._value: float | None = None
        self._epoch_start: dict[str, Any] = {}
        self._rng_before_val: dict[str, Any] | None = None

    # --- going on -------------------------------------------------------------------------------------------

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if not runner._resume:
            return
        self._resumed = {key: checkpoint[key] for key in ("rng", "hooks", "progress")}
        before, now = checkpoint["meta"]["trainer"].get("fingerprint"), self.about.get("fingerprint")
        if before != now:
            self.log.emit("warning", message="the data set is not the one that this run was started on")
        from trainer.engine.checkpoint_file import as_current

        checkpoint["state_dict"] = as_current(runner.model, checkpoint["state_dict"])
        # Compared above by content; mmengine compares pickles, which differ for equal values.
        checkpoint["meta"]["dataset_meta"] = getattr(runner.train_dataloader.dataset, "metainfo", None)

    def before_train(self, runner: Any) -> None:
        if self._resumed is None:
            return
        progress = self._resumed["progress"]
        self.log.emit("resumed", path=self._path(self.source), epoch=runner.epoch, iter=runner.iter)
        best = self.manifest.entry("best")
        self.best = best["value"] if best else None
        self._saved_iter, self._value = runner.iter, progress["value"]
        for hook in runner.hooks:
            if isinstance(hook, EarlyStoppingHook):
                vars(hook).update(self._resumed["hooks"].get("EarlyStoppingHook", {}))
        runner.train_loop.stop_training = progress["stopped_early"]
        restore_rng(self._resumed["rng"])
        # A kill may have come between writing last and giving it its second name.
        last = self.manifest.entry("last")
        if self._better(self._value) and last is not None and last["iter"] == runner.iter:
            self._promote(runner.epoch, runner.iter)
        if progress["pending_validation"] and runner.val_loop is not None:
            runner.val_loop.run()

    # --- saving ---------------------------------------------------------------------------------------------

    def before_train_epoch(self, runner: Any) -> None:
        self._value = None
        self._epoch_start = {
            "iter": runner.iter,
            "param_schedulers": _schedulers(runner),
            "groups": [
                {key: value for key, value in group.items() if key != "params"}
                for group in getattr(runner.optim_wrapper, "param_groups", [])
            ],
        }

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
        self._rng_before_val = rng_state()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._rng_before_val = None
        if metrics is None:
            return
        value = metrics.get(self.save_best) if self.save_best else None
        self._value = None if value is None else float(value)
        better = self._better(self._value)
        stopped = runner.train_loop.stop_training
        if better or stopped or self._due(runner.epoch if _counts_epochs(runner) else runner.iter, runner):
            self._save(runner, runner.epoch, runner.iter)
            if better:
                self._promote(runner.epoch, runner.iter)

    def after_train(self, runner: Any) -> None:
        if self._saved_iter != runner.iter:
            self._save(runner, runner.epoch, runner.iter)

    def save_interrupted(self, runner: Any) -> dict[str, Any]:
        """Save within an epoch; the entry in the manifest.

        The weights are as trained so far. A loop that counts epochs starts the interrupted one again, with
        the learning rate's schedule as it was at its start; a loop that counts iterations goes on where it
        was.
        """
        if not _counts_epochs(runner):
            return self._save(runner, runner.epoch, runner.iter + 1)
        start = self._epoch_start
        return self._save(runner, runner.epoch, start["iter"], start=start, restarts_epoch=runner.epoch + 1)

    def save_unvalidated(self, runner: Any) -> dict[str, Any]:
        """Save in the middle of a validation; it is run again on resume."""
        entry = self.manifest.entry("last")
        if self._saved_iter == runner.iter and entry is not None:
            return entry
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(
                    runner
                )  # the averaged weights are in the model's place during validation
        return self._save(runner, runner.epoch, runner.iter, pending=True, rng=self._rng_before_val)

    def save_finished_epoch(self, runner: Any, pending: bool) -> dict[str, Any]:
        """Save at an epoch's end unless that was just done."""
        entry = self.manifest.entry("last")
        if self._saved_iter == runner.iter and entry is not None:
            return entry
        if not _counts_epochs(runner):
            return self._save(runner, runner.epoch, runner.iter)
        done = runner.epoch + 1 if pending else runner.epoch
        return self._save(runner, done, runner.iter, pending=pending and self._validates(runner, done))

    def _after_training(self, runner: Any, epoch: int, iteration: int, count: int) -> None:
        if self._validates(runner, count):
            if time.monotonic() - self._saved_at > UNSECURED_SECONDS:
                self._save(runner, epoch, iteration, pending=True)
        elif self._due(count, runner):
            self._save(runner, epoch, iteration)

    def _validates(self, runner: Any, count: int) -> bool:
        """Whether the loop validates after ``count`` epochs (or iterations): the loops' own condition."""
        loop = runner.train_loop
        if runner.val_loop is None or count < loop.val_begin:
            return False
        interval = loop.dynamic_intervals[bisect.bisect(loop.dynamic_milestones, count + 1) - 1]
        return count % interval == 0 or count == self._last(runner)

    def _due(self, count: int, runner: Any) -> bool:
        if count == self._last(runner):
            return True
        if _counts_epochs(runner) == self.by_epoch:
            return count % self.interval == 0
        return False

    def _last(self, runner: Any) -> int:
        return runner.max_epochs if _counts_epochs(runner) else runner.max_iters

    def _better(self, value: float | None) -> bool:
        if value is None or value != value:
            return False
        if self.best is None:
            return True
        return value > self.best if self.rule == "greater" else value < self.best

    def _promote(self, epoch: int, iteration: int) -> None:
        self.manifest.copy("last", "best")
        self.best = self._value
        self._tell("best", epoch, iteration)

    def _save(
        self,
        runner: Any,
        epoch: int,
        iteration: int,
        *,
        pending: bool = False,
        rng: dict[str, Any] | None = None,
        start: dict[str, Any] | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        optimizer = runner.optim_wrapper.state_dict()
        for group, values in zip(
            optimizer.get("param_groups", []), start["groups"] if start else [], strict=False
        ):
            group.update(values)
        checkpoint: dict[str, Any] = {
            "meta": {
                "epoch": epoch,
                "iter": iteration,
                "seed": runner.seed,
                "mmengine_version": mmengine.__version__,
                "dataset_meta": plain(getattr(runner.train_dataloader.dataset, "metainfo", {})),
                "trainer": self.about,
            },
            "progress": {
                "pending_validation": pending,
                "value": self._value,
                "stopped_early": bool(runner.train_loop.stop_training),
                **facts,
            },
            "state_dict": dict(model.state_dict()),
            "optimizer": optimizer,
            "message_hub": pack_hub(runner.message_hub),
            "rng": rng or rng_state(),
            "hooks": {
                type(hook).__name__: {"wait_count": hook.wait_count, "best_score": hook.best_score}
                for hook in runner.hooks
                if isinstance(hook, EarlyStoppingHook)
            },
        }
        if runner.param_schedulers is not None:
            checkpoint["param_schedulers"] = start["param_schedulers"] if start else _schedulers(runner)
        # EMAHook puts the averaged weights under state_dict here, and the trained ones beside them.
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        entry = {"epoch": epoch, "iter": iteration, "metric": self.save_best, "value": self._value, **facts}
        if pending:
            entry["pending_validation"] = True
        with self.manifest.replacing("last", entry) as file:
            torch.save(plain(checkpoint), file)  # type: ignore[arg-type]  # needs no more than write and flush
        self._saved_iter, self._saved_at = iteration, time.monotonic()
        self._tell("last", epoch, iteration)
        return entry

    def _tell(self, kind: str, epoch: int, iteration: int) -> None:
        facts = {"epoch": epoch, "iter": iteration, "metric": self.save_best, "value": self._value}
        self.log.emit("checkpoint", path=self._path(kind), kind=kind, **facts)

    def _path(self, name: str) -> str:
        return f"{self.manifest.folder.name}/{self.manifest.file(name).name}"


def _counts_epochs(runner: Any) -> bool:
    return not hasattr(runner.train_loop, "dataloader_iterator")


def _schedulers(runner: Any) -> Any:
    schedulers = runner.param_schedulers
    if isinstance(schedulers, dict):
        return {name: [plain(one.state_dict()) for one in many] for name, many in schedulers.items()}
    return [plain(one.state_dict()) for one in schedulers or []]
