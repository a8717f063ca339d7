"""How data loader processes get their random numbers."""

from __future__ import annotations

from typing import Any

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def seeds_from_torch(worker_id: int, **unused: Any) -> None:
    """Leave the seeds that torch gave this worker: they come from the training process's generator.

    mmengine's own function gives each worker the same seed at every start, so every epoch, and every resumed
    run, would draw the same augmentations again. torch's differ by epoch and are restored with the
    checkpoint.
    """
