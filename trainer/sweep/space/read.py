"""From what was typed, and ``sweep.params`` of a file, to a checked search space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.paths import Conf
from trainer.config.schema import Sweep
from trainer.sweep.objectives import Objective
from trainer.sweep.space.model import Space


@dataclass(frozen=True)
class Plan:
    """All that a driver needs to know of a sweep before its first trial; everything in it is checked."""

    command: str
    sweep: Sweep
    space: Space
    objectives: tuple[Objective, ...]  # empty for commands without a task
    config: Any  # what a first trial composes to: an Experiment (Evaluate, ...), for output_dir, name, task, epochs


def make_plan(command: str, words: Sequence[str], conf: Conf | None = None) -> Plan:
    """Read and check a sweep: words, search space, objectives, constraints, sampler and pruner.

    Every value is checked against the schema, and the combinations of group choices are composed.

    Args:
        words: what was typed, ``sweep...`` words too.

    Raises:
        ConfigError: with all mistakes in one message.
    """
    raise NotImplementedError


def read_space(
    words: Sequence[str], sweep: Sweep, *, command: str = "train", conf: Conf | None = None
) -> Space:
    """The search space of typed words and ``sweep.params``; what is typed wins.

    ``sweep...`` and ``hydra...`` words are left out of it: no trial gets them.

    Raises:
        ConfigError: with all mistakes in one message.
    """
    raise NotImplementedError
