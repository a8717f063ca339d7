"""What a sweep improves: metrics of the task, and what else is measured of a trial."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import METRICS, Sweep, Task

# What is measured of every trial besides its task's metrics, and which way is better.
MEASURED = {
    "parameters": "min",  # trainable parameters of the model
    "images_per_second": "max",  # of training
    "latency": "min",  # milliseconds an image, in validation
    "seconds": "min",  # of training, all attempts
}
PRIMARY = "primary"  # whatever the task's primary metric is
_SHORT = {"params": "parameters"}


@dataclass(frozen=True)
class Objective:
    """A figure that a trial ends with; ``mode`` is ``max`` or ``min``."""

    name: str
    mode: str

    @property
    def direction(self) -> str:
        """Optuna's word for the mode."""
        return "maximize" if self.mode == "max" else "minimize"


def read_objectives(sweep: Sweep, task: Task) -> tuple[Objective, ...]:
    """The objectives of a sweep: those it names, else the task's primary metric.

    A name is ``name``, ``name:min``, ``name:max`` or ``-name`` (the smaller the better); ``primary`` is the task's
    primary metric.

    Raises:
        ConfigError: a name is unknown or given twice, with all mistakes.
    """
    if not sweep.objectives:
        return (Objective(task.primary_metric, task.mode),)
    found: list[Objective] = []
    mistakes: list[str] = []
    for text in sweep.objectives:
        name, colon, mode = text.removeprefix("-").partition(":")
        name = task.primary_metric if name == PRIMARY else canonical(name)
        modes = {**dict.fromkeys(METRICS[task.name], "max"), **MEASURED, task.primary_metric: task.mode}
        if name not in modes:
            hint = did_you_mean(name, [PRIMARY, *modes]) or f" Objectives: {', '.join(modes)}."
            mistakes.append(f"sweep.objectives: {task.name} has no {name!r}.{hint}")
        elif colon and mode not in ("min", "max"):
            mistakes.append(f"sweep.objectives: {text}: expected {name}:min or {name}:max.")
        elif name in {objective.name for objective in found}:
            mistakes.append(f"sweep.objectives: {name} is given twice.")
        else:
            found.append(Objective(name, mode or ("min" if text.startswith("-") else modes[name])))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tuple(found)


def canonical(name: str) -> str:
    """A figure's name in full: ``params`` is ``parameters``."""
    return _SHORT.get(name, name)
