"""A sweep's rows as a study of Optuna's in memory: for importances and its interactive plots, whatever the store is."""

from __future__ import annotations

import datetime
import logging
import warnings
from functools import partial
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from trainer.sweep.report.results import Row, SweepResults

logger = logging.getLogger("trainer")

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
LEAST = 3  # complete trials from which importances mean anything
SEED = 0  # of the forest that the importances are read from


def make_study(results: SweepResults) -> optuna.Study:
    """A study with the trials that have ended, under their numbers; parameters by their keys."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            directions=[StudyDirection[objective.direction.upper()] for objective in results.objectives],
            study_name=results.folder.id,
        )
        study.set_metric_names([objective.name for objective in results.objectives])
    known = distributions(results)
    rows = {row["number"]: row for row in results.rows}
    for number in range(max(rows, default=-1) + 1):
        study.add_trial(_trial(rows.get(number), results, known))
    return study


def importances(results: SweepResults) -> dict[str, dict[str, float]]:
    """How much of each objective's variance each parameter explains, by objective and key, the greatest first.

    Empty where too few trials are complete to tell, or all have the same value. Keys that not every trial has are
    left out.
    """
    study = make_study(results)
    found: dict[str, dict[str, float]] = {}
    for place, objective in enumerate(results.objectives):
        values = [
            trial.values[place] for trial in study.get_trials(states=(TrialState.COMPLETE,)) if trial.values
        ]
        if len(values) < LEAST or len(set(values)) < 2:
            continue
        try:
            shares = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=SEED),
                target=partial(value_of, place=place),
            )
        except (ImportError, ValueError, RuntimeError) as error:
            logger.warning("importances for %s can't be told: %s", objective.name, error)
            continue
        found[objective.name] = {key: float(share) for key, share in shares.items()}
    return found


def value_of(trial: FrozenTrial, place: int) -> float:
    """A complete trial's value for the objective at ``place``."""
    return float(trial.values[place])


def distributions(results: SweepResults) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each searched key, wide enough for all that was tried; of choices those tried.

    A key with several conditions is one parameter here.
    """
    kinds: dict[str, list[dict[str, Any]]] = {}
    for told in (results.about.get("space") or {}).get("parameters", []):
        if told["kind"] != "constant":
            kinds.setdefault(told["key"], []).append(told)
    tried = [results.searched(row) for row in results.rows]
    found: dict[str, BaseDistribution] = {}
    for key, told in kinds.items():
        values = [searched[key] for searched in tried if key in searched]
        if not values:
            continue
        if any(one["kind"] not in ("int", "float") for one in told):
            found[key] = CategoricalDistribution(_distinct(values))
            continue
        ends = [end for one in told for end in (one["low"], one["high"])] + values
        whole = all(one["kind"] == "int" for one in told)
        kind: Any = IntDistribution if whole else FloatDistribution
        low, high = (int(min(ends)), int(max(ends))) if whole else (float(min(ends)), float(max(ends)))
        found[key] = kind(low, high, log=any(one.get("log") for one in told) and low > 0)
    return found


def _trial(row: Row | None, results: SweepResults, known: dict[str, BaseDistribution]) -> FrozenTrial:
    """A row as a trial; a failed one where there is none, or none that compares."""
    state = _STATES.get(row["state"], TrialState.FAIL) if row else TrialState.FAIL
    if row is None:
        return create_trial(state=state)
    values = [row["values"].get(objective.name) for objective in results.objectives]
    complete = state == TrialState.COMPLETE and None not in values
    if state == TrialState.COMPLETE and not complete:
        state = TrialState.FAIL
    params = {key: value for key, value in results.searched(row).items() if key in known}
    trial = create_trial(
        state=state,
        values=values if complete else None,
        params=params,
        distributions={name: known[name] for name in params},
        intermediate_values=row["reported"] if len(results.objectives) == 1 else {},
    )
    if row["started"] and row["ended"]:
        trial.datetime_start = datetime.datetime.fromtimestamp(row["started"])
        trial.datetime_complete = datetime.datetime.fromtimestamp(row["ended"])
    return trial


def _distinct(values: list[Any]) -> list[Any]:
    """Each value once, ``1`` and ``True`` apart, in order."""
    return list({(type(value), value): value for value in values}.values())
