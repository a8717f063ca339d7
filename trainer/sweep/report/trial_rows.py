"""Trials as plain rows, one for each: what ``trials.jsonl`` holds and tables show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.sweep.objectives import Objective
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.trial_store import TrialRecord

INFEASIBLE, REFUSED = "infeasible", "refused"


def rows(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    """A row for each trial that was begun.

    ``values`` are by objective, ``figures`` all that was measured; ``seconds`` are wall seconds from the trial's
    first beginning to its end; ``best`` marks the best trial, or those of the Pareto front.
    """
    leaders = {record.number for record in best(records, objectives)}
    return [_row(one, objectives, one.number in leaders) for one in records if not one.withdrawn]


def state(record: TrialRecord) -> str:
    """The state as people read it: ``infeasible`` and ``refused`` beside those of the store."""
    if record.notes.get("refused"):
        return REFUSED
    return INFEASIBLE if record.notes.get("infeasible") else record.state


def best(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """The best trials that fulfil the constraints: one, or with several objectives all that no other is better than
    in everything. The earlier of equals."""
    ended = [one for one in records if one.state == states.COMPLETE and one.values and one.feasible]
    ended = [one for one in ended if state(one) == states.COMPLETE]
    scored = [(_score(one, objectives), one) for one in ended]
    # In this order a trial comes after all that are better than it, of which one at least is in the front.
    scored.sort(key=lambda pair: ([-value for value in pair[0]], pair[1].number))
    front: list[tuple[tuple[float, ...], TrialRecord]] = []
    for mine, one in scored:
        if not any(_as_good(score, mine) for score, _ in front):
            front.append((mine, one))
    return sorted((one for _, one in front), key=lambda one: one.number)


def duration(record: TrialRecord) -> float | None:
    """Wall seconds from a trial's first beginning to its end."""
    if record.started is None or record.ended is None:
        return None
    return max(0.0, record.ended - record.started)


def _row(record: TrialRecord, objectives: Sequence[Objective], leads: bool) -> dict[str, Any]:
    names = [objective.name for objective in objectives]
    notes, seconds = record.notes, duration(record)
    return {
        "number": record.number,
        "state": state(record),
        "best": leads,
        "values": dict(zip(names, record.values, strict=False)) if record.values else {},
        "params": record.params,
        "label": notes.get("label"),
        "words": notes.get("words"),
        "run_id": notes.get("run_id"),
        "run_dir": notes.get("run_dir"),
        "epochs": notes.get("epochs"),
        "seconds": None if seconds is None else round(seconds, 1),
        "started": record.started,
        "ended": record.ended,
        "reported": record.reported,
        "figures": notes.get("figures") or {},
        "constraints": record.constraints,
        "feasible": record.feasible,
        "error": notes.get("error"),
        "driver": (notes.get("lease") or {}).get("owner"),
    }


def _score(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The values with the greater always the better."""
    signs = [1.0 if objective.mode == "max" else -1.0 for objective in objectives]
    return tuple(sign * value for sign, value in zip(signs, record.values or (), strict=True))


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
