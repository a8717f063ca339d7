"""How data loader processes begin: their random numbers, their signals."""

from __future__ import annotations

from typing import Any

from mmengine.registry import FUNCTIONS

from trainer.engine.stop_signals import outlive_sigterm


@FUNCTIONS.register_module()
def seeds_from_torch(worker_id: int, **unused: Any) -> None:
    """Leave the seeds that torch gave this worker: they differ by epoch and process.

    mmengine's own function gives each worker the same seed at every start. What a batch for training draws hangs on
    neither: see :mod:`trainer.engine.data_order`.
    """
    outlive_sigterm()
