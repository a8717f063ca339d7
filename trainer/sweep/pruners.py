"""Optuna's pruners by name, with options checked against what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config.schema import Sweep

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


def make_pruner(sweep: Sweep, *, epochs: int | None = None) -> BasePruner | None:
    """The pruner that a sweep names; None for ``none``.

    Args:
        epochs: the length of a full trial, where known: Hyperband then needn't wait for one to end.

    Raises:
        ConfigError: an option is unknown or wrong.
    """
    raise NotImplementedError
