"""Going on with another batch: the rate follows the linear rule, the schedule keeps its share of the run."""

from __future__ import annotations

from typing import Any

from mmengine.optim import CosineAnnealingLR, LinearLR
from torch import nn, optim

from trainer.engine.batch_rescaling import scale_rate, scale_steps


def facts(effective: int, rule: str | None = "linear") -> dict[str, Any]:
    return {"effective": effective, "rule": rule}


def trained(epoch: int, epochs: int, steps: int, rate: float) -> tuple[Any, list[Any]]:
    """An optimizer and its schedule after so many epochs."""
    optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=rate)
    total = epochs * epoch
    schedule = [
        LinearLR(optimizer, start_factor=0.1, by_epoch=False, begin=0, end=epoch),
        CosineAnnealingLR(
            optimizer, T_max=total - epoch, by_epoch=False, begin=epoch, end=total, eta_min=rate / 20
        ),
    ]
    for _ in range(steps):
        optimizer.step()
        for one in schedule:
            one.step()
    return optimizer, schedule


def saved(optimizer: Any, schedule: list[Any], batch: dict[str, Any]) -> dict[str, Any]:
    return {
        "meta": {"trainer": {"batch": batch}},
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [one.state_dict() for one in schedule],
    }


def test_half_the_processes_go_on_with_half_the_rate_to_the_same_end() -> None:
    checkpoint = saved(*trained(10, 6, 30, 0.2), facts(8))
    said = scale_rate(checkpoint, facts(4))
    assert said == "effective batch 4 by now, 8 when this was saved: learning rate x 0.5 (linear rule)"
    scale_steps(checkpoint, 10, 20)
    optimizer, schedule = trained(20, 6, 0, 0.1)
    optimizer.load_state_dict(checkpoint["optimizer"])
    for one, state in zip(schedule, checkpoint["param_schedulers"], strict=True):
        one.load_state_dict(state)
    undisturbed, _ = trained(20, 6, 60, 0.1)
    assert schedule[1].last_step == 60 - 20 or schedule[1].last_step == 60
    for _ in range(59):
        optimizer.step()
        for one in schedule:
            one.step()
    end, _ = trained(20, 6, 119, 0.1)
    assert abs(optimizer.param_groups[0]["lr"] - end.param_groups[0]["lr"]) < 0.002
    assert abs(undisturbed.param_groups[0]["lr"] - 0.1) < 0.06


def test_a_rate_of_ones_own_stays() -> None:
    checkpoint = saved(*trained(10, 6, 30, 0.2), facts(8))
    before = checkpoint["optimizer"]["param_groups"][0]["lr"]
    said = scale_rate(checkpoint, facts(4, None))
    assert said == "effective batch 4 by now, 8 when this was saved; the learning rate stays"
    assert checkpoint["optimizer"]["param_groups"][0]["lr"] == before


def test_the_same_batch_and_older_checkpoints_are_left_alone() -> None:
    checkpoint = saved(*trained(10, 6, 5, 0.2), facts(8))
    assert scale_rate(checkpoint, facts(8)) is None
    del checkpoint["meta"]["trainer"]["batch"]
    assert scale_rate(checkpoint, facts(4)) is None
