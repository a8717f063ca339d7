"""The learning rate schedules: the choices of the group ``scheduler``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.schema.declaration import Choice, typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class Scheduler(Choice):
    """What every schedule has: a linear warm-up before it."""

    group: ClassVar[str] = "scheduler"
    name: str = typed_field("default", "how the learning rate changes", kind="choice")
    warmup_iters: int | None = typed_field(None, "iterations of linear warm-up", ge=0)
    warmup_epochs: float | None = typed_field(
        None, "epochs of linear warm-up (instead of warmup_iters)", ge=0
    )
    warmup_ratio: float | None = typed_field(
        None, "share of the learning rate at which warm-up starts", gt=0, le=1
    )


@dataclass
class DefaultScheduler(Scheduler):
    """``scheduler=default``: the model's own."""


@dataclass
class ConstantScheduler(Scheduler):
    """``scheduler=constant``."""

    name: str = typed_field("constant", "how the learning rate changes", kind="choice")


@dataclass
class StepsScheduler(Scheduler):
    """Schedules that fall in steps."""

    gamma: float | None = typed_field(None, "step, multistep: factor at each step", gt=0, le=1)


@dataclass
class StepScheduler(StepsScheduler):
    """``scheduler=step``."""

    name: str = typed_field("step", "how the learning rate changes", kind="choice")
    step_size: int | None = typed_field(None, "step: epochs between two steps", ge=1)


@dataclass
class MultistepScheduler(StepsScheduler):
    """``scheduler=multistep``."""

    name: str = typed_field("multistep", "how the learning rate changes", kind="choice")
    milestones: list[float] | None = typed_field(
        None, "multistep: epochs, or shares of the run when all are below 1", kind="ascending", gt=0
    )


@dataclass
class DecayScheduler(Scheduler):
    """Schedules that end at a share of the learning rate."""

    min_ratio: float | None = typed_field(
        None, "cosine, poly: share of the learning rate at the end", ge=0, le=1
    )


@dataclass
class CosineScheduler(DecayScheduler):
    """``scheduler=cosine``."""

    name: str = typed_field("cosine", "how the learning rate changes", kind="choice")
    flat_ratio: float | None = typed_field(
        None, "cosine: share of the run at the full rate before it falls", ge=0, le=0.95
    )


@dataclass
class PolyScheduler(DecayScheduler):
    """``scheduler=poly``."""

    name: str = typed_field("poly", "how the learning rate changes", kind="choice")
    power: float | None = typed_field(None, "poly: the exponent", gt=0)


@dataclass
class OnecycleScheduler(Scheduler):
    """``scheduler=onecycle``."""

    name: str = typed_field("onecycle", "how the learning rate changes", kind="choice")
    pct_start: float | None = typed_field(
        None, "onecycle: share of the run in which the rate rises", gt=0, le=0.99
    )
