"""Composing what trials may be, before the first one: what only a whole configuration shows."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.schema.conf_folders import Conf
from trainer.sweep.space.space import SearchSpace

# Composing takes some 30 ms. What isn't composed here is checked by the trial itself.
FEW, MANY = 32, 64


def compose_all(command: str, space: SearchSpace, conf: Conf) -> tuple[list[Any], list[str]]:
    """Compose the combinations of all choices, numbers at one of their values, and return the configurations
    and what is wrong with the others.

    Where there are more than ``FEW``: the combinations of group choices (more than ``MANY``: of every two
    groups), and each other choice once.
    """
    configs, mistakes = [], []
    collecting = gc.isenabled()
    gc.disable()  # thousands of small nodes that all live on: the collector would look at them again and again
    try:
        for values in samples(space, conf.groups_of(command)):
            try:
                configs.append(compose(command, space.words(values), conf=conf)[0])
            except ConfigError as error:
                mistakes += _single(error.message)
    finally:
        if collecting:
            gc.enable()
    return configs, list(dict.fromkeys(mistakes))


def samples(space: SearchSpace, groups: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Values of trials that between them have every choice, and every combination of groups' choices."""
    every = [parameter for parameter in space.searched if parameter.kind == "categorical"]
    chosen = [parameter for parameter in every if parameter.key in groups]
    found = list(islice(space.combinations(every), FEW + 1))
    if len(found) > FEW:
        found = list(islice(space.combinations(chosen), MANY + 1))
        if len(found) > MANY:
            found = [values for pair in combinations(chosen, 2) for values in space.combinations(pair)]
        found += [values for one in every if one not in chosen for values in space.combinations([one])]
    seen: set[tuple[str, ...]] = set()
    for values in found:
        words = tuple(space.varied(values))
        if words not in seen and not space.refused(values):
            seen.add(words)
            yield values


def _single(message: str) -> list[str]:
    """The mistakes in a message of several."""
    _, *lines = message.splitlines()
    numbered = [line.strip().partition(". ") for line in lines]
    if lines and all(number.isdigit() for number, _, _ in numbered):
        return [text for _, _, text in numbered]
    return [message]
