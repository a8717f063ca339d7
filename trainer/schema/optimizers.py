"""The optimizers: the choices of the group ``optimizer``, with what each of them can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.schema.declaration import Choice, typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class Optimizer(Choice):
    """What every optimizer has: learning rate, weight decay, and their factors for parts of the model."""

    group: ClassVar[str] = "optimizer"
    name: str = typed_field("default", "the update rule", kind="choice")
    lr: float | None = typed_field(None, "learning rate", gt=0)
    weight_decay: float | None = typed_field(None, "weight decay", ge=0)
    norm_decay_mult: float | None = typed_field(
        None, "factor of the weight decay for normalization layers", ge=0
    )
    bias_decay_mult: float | None = typed_field(None, "factor of the weight decay for biases", ge=0)
    backbone_lr_mult: float | None = typed_field(None, "factor of the learning rate for the backbone", ge=0)
    layer_decay: float | None = typed_field(
        None, "factor of the learning rate from each backbone stage to the one before it", gt=0, le=1
    )


@dataclass
class FusedOptimizer(Optimizer):
    """Optimizers with a fused kernel."""

    fused: bool | None = typed_field(
        None, "update all parameters in one kernel: the same rule, faster, on CPU and GPU"
    )


@dataclass
class SgdOptimizer(FusedOptimizer):
    """``optimizer=sgd``."""

    name: str = typed_field("sgd", "the update rule", kind="choice")
    momentum: float | None = typed_field(None, "sgd: momentum", ge=0, le=1)
    nesterov: bool | None = typed_field(None, "sgd: Nesterov's momentum")


@dataclass
class AdamOptimizer(FusedOptimizer):
    """``optimizer=adam``."""

    name: str = typed_field("adam", "the update rule", kind="choice")
    betas: list[float] | None = typed_field(
        None, "adam, adamw: decay rates of the two moments", kind="pair", ge=0, le=1
    )
    eps: float | None = typed_field(None, "adam, adamw: added to the denominator", gt=0)
    amsgrad: bool | None = typed_field(None, "adam, adamw: the AMSGrad variant")


@dataclass
class AdamWOptimizer(AdamOptimizer):
    """``optimizer=adamw``."""

    name: str = typed_field("adamw", "the update rule", kind="choice")


@dataclass
class DefaultOptimizer(AdamOptimizer, SgdOptimizer):
    """``optimizer=default``: the model's own, whichever it is."""

    name: str = typed_field("default", "the update rule", kind="choice")
