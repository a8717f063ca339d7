"""Going on with another batch than a checkpoint was saved with: other processes, images or accumulation."""

from __future__ import annotations

from typing import Any

# What a scheduler has from its configuration, whose iterations are counted in the new batches already.
_CONFIGURED = (
    *("begin", "end", "T_max", "total_iters", "total_steps", "milestones", "step_size", "eta_min"),
    *("_schedule_phases", "max_values"),
)


def scale_rate(checkpoint: dict[str, Any], batch: dict[str, Any]) -> str | None:
    """Carry the learning rates in a checkpoint over to another effective batch, by the rule that ``batch`` names.

    Args:
        checkpoint: its ``optimizer`` and ``param_schedulers`` are changed.
        batch: what a step is made of by now: :func:`trainer.mmconfig.batch.batch_facts`.

    Returns:
        What was done, for the user; None for the same batch, or a checkpoint that doesn't say.
    """
    before = (checkpoint["meta"]["trainer"].get("batch") or {}).get("effective")
    now = batch.get("effective")
    if not before or not now or before == now:
        return None
    told = f"effective batch {now} by now, {before} when this was saved"
    if not batch.get("rule"):
        return f"{told}; the learning rate stays"
    ratio = now / before
    state = checkpoint["optimizer"]
    for group in [*state["param_groups"], state.get("base_param_settings") or {}]:
        for name in ("lr", "initial_lr"):
            if name in group:
                group[name] *= ratio
    for scheduler in _schedulers(checkpoint):
        if scheduler.get("param_name") == "lr":
            scheduler["base_values"] = [value * ratio for value in scheduler["base_values"]]
            scheduler["_last_value"] = [value * ratio for value in scheduler["_last_value"]]
            scheduler.pop("eta_min", None)
    return f"{told}: learning rate x {ratio:g} ({batch['rule']} rule)"


def scale_steps(checkpoint: dict[str, Any], before: int, now: int) -> None:
    """Let schedules that count iterations go on at the same share of the run, when an epoch has ``now`` batches and
    not ``before``."""
    for scheduler in _schedulers(checkpoint):
        if scheduler.get("by_epoch", True):
            continue
        for name in ("last_step", "_global_step"):
            scheduler[name] = scheduler[name] * now // before
        for name in _CONFIGURED:
            scheduler.pop(name, None)


def _schedulers(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    schedulers = checkpoint.get("param_schedulers") or []
    if isinstance(schedulers, dict):
        return [one for several in schedulers.values() for one in several]
    return list(schedulers)
