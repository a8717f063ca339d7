"""Optuna's samplers by name, with options checked against what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config.schema import Sweep
from trainer.sweep.space.model import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def make_sampler(sweep: Sweep, space: Space, *, salt: int = 0) -> BaseSampler:
    """The sampler that a sweep names.

    Args:
        salt: added to ``sweep.seed``. A sampler that goes on with a study, or one of several drivers on it, would
            draw the same values again with the same seed: give the number of trials there are, or another one
            for each driver. 0 for a new study.

    Raises:
        ConfigError: an option is unknown or wrong, or a package that the sampler needs isn't installed.
    """
    raise NotImplementedError
