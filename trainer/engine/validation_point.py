"""Where a validation stands in a run."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ValidationPoint:
    """``epoch`` and ``iter`` as the validation event has them; ``name`` as its files are called, e.g. ``epoch_12``."""

    epoch: int
    iter: int
    by_epoch: bool

    @property
    def name(self) -> str:
        return f"epoch_{self.epoch}" if self.by_epoch else f"iter_{self.iter}"


def validation_point(runner: Any) -> ValidationPoint:
    """The point that mmengine's runner validates at, or has validated at."""
    by_epoch = not hasattr(runner.train_loop, "dataloader_iterator")
    epoch = (
        runner.epoch if by_epoch else max(1, math.ceil(runner.iter / max(1, len(runner.train_dataloader))))
    )
    return ValidationPoint(epoch, runner.iter, by_epoch)


def validates(runner: Any, count: int) -> bool:
    """Whether the loop validates after ``count`` epochs (or iterations): the loops' own condition."""
    loop = runner.train_loop
    if runner.val_loop is None or count < loop.val_begin:
        return False
    interval = loop.dynamic_intervals[bisect.bisect(loop.dynamic_milestones, count + 1) - 1]
    by_epoch = not hasattr(loop, "dataloader_iterator")
    last = runner.max_epochs if by_epoch else runner.max_iters
    return bool(count % interval == 0 or count == last)
