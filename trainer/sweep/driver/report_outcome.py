"""How a trial ended, told to the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.core.secrets import masked_words
from trainer.sweep.driver import outcome as ends
from trainer.sweep.driver.outcome import TrialOutcome
from trainer.sweep.driver.running_trial import RunningTrial
from trainer.sweep.objectives import PRIMARY
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.trial_store import TrialGone, TrialStore

MEMORY = "memory"


def report_outcome(store: TrialStore, plan: SweepPlan, trial: RunningTrial) -> str | None:
    """End a trial in the store as its outcome says; saying it again changes nothing.

    Returns:
        The state it has now, :data:`INFEASIBLE` for one that memory doesn't hold; None when another driver had
        ended it before.
    """
    outcome = trial.outcome
    assert outcome is not None
    if outcome.kind == ends.COMPLETE:
        values, complaint = _values(plan, outcome)
        if complaint and not store.needs_values:
            values = None
        elif complaint:
            outcome = TrialOutcome(ends.FAILED, complaint, outcome.figures, outcome.epochs)
    try:
        store.note(trial.number, _notes(plan, trial, outcome))
    except TrialGone:
        return None
    if outcome.kind == ends.COMPLETE:
        constraints = _violations(plan, trial, outcome.figures)
        done = store.finish(trial.number, states.COMPLETE, values, constraints)
        return states.COMPLETE if done else None
    if outcome.kind == ends.PRUNED:
        return states.PRUNED if store.finish(trial.number, states.PRUNED) else None
    if outcome.kind in (ends.MEMORY, ends.KILLED):
        return INFEASIBLE if store.infeasible(trial.number, MEMORY) else None
    return states.FAIL if store.finish(trial.number, states.FAIL) else None


INFEASIBLE = "infeasible"


def _values(plan: SweepPlan, outcome: TrialOutcome) -> tuple[list[float] | None, str | None]:
    figures = dict(outcome.figures)
    if not plan.sweep.objectives and PRIMARY in figures:
        figures[plan.objectives[0].name] = figures[PRIMARY]  # of the trial's own task
    missing = [one.name for one in plan.objectives if one.name not in figures]
    if missing:
        hint = " It was never validated." if not outcome.figures.get("latency") else ""
        return None, f"it ended without {' and '.join(missing)}.{hint}"
    values = [figures[objective.name] for objective in plan.objectives]
    wrong = [one.name for one, value in zip(plan.objectives, values, strict=True) if not math.isfinite(value)]
    return values, f"{' and '.join(wrong)}: not a finite number" if wrong else None


def _violations(plan: SweepPlan, trial: RunningTrial, figures: Mapping[str, float]) -> dict[str, float]:
    known = {**figures, **plan.space.figures(trial.record.params)}
    # What can't be decided isn't fulfilled; samplers want the same constraints of every trial.
    found = {one.text: one.violation(known) for one in plan.space.constraints}
    return {text: 1.0 if distance is None else distance for text, distance in found.items()}


def _notes(plan: SweepPlan, trial: RunningTrial, outcome: TrialOutcome) -> dict[str, Any]:
    """What stays beside a trial that has ended."""
    notes: dict[str, Any] = {
        "label": trial.label,
        "words": masked_words(plan.space.varied(trial.record.params)),
        "run_id": trial.run_id,
        "run_dir": str(trial.run.dir) if trial.run else None,
        "epochs": outcome.epochs if outcome.epochs is not None else trial.seen.epoch,
        "figures": outcome.figures,
        "error": outcome.error,
        "lost": trial.lost,
    }
    if outcome.kind in (ends.MEMORY, ends.KILLED):
        notes["infeasible"] = MEMORY
    return notes
