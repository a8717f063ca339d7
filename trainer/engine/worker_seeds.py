"""How data loader processes begin: their random numbers, their signals, the user's modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import FUNCTIONS

from trainer.core.user_modules import import_modules
from trainer.engine.stop_signals import outlive_sigterm


@FUNCTIONS.register_module()
def seeds_from_torch(worker_id: int, imports: Sequence[str] = (), **unused: Any) -> None:
    """Prepare a worker, and keep the seeds that torch gave it: they differ by epoch and process.

    mmengine's own function gives each worker the same seed at every start. What a batch for training draws depends on
    neither: see :mod:`trainer.engine.data_order`.

    Args:
        worker_id: the worker's number, from 0.
        imports: modules of the user's own; a worker that was spawned, not forked, hasn't imported them yet.
        unused: what mmengine passes besides.
    """
    outlive_sigterm()
    import_modules(imports)
