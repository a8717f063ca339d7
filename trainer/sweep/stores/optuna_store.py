"""Trials in one of Optuna's storages: a journal file, a database, or a gRPC proxy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trainer.core.errors import FrameworkError
from trainer.sweep.objectives import Objective
from trainer.sweep.space import SearchSpace
from trainer.sweep.stores import trial_store
from trainer.sweep.stores.optuna_storage import is_down, reaching
from trainer.sweep.stores.trial_store import TrialGone, TrialRecord

_STATES = {
    TrialState.WAITING: trial_store.WAITING,
    TrialState.RUNNING: trial_store.RUNNING,
    TrialState.COMPLETE: trial_store.COMPLETE,
    TrialState.PRUNED: trial_store.PRUNED,
    TrialState.FAIL: trial_store.FAIL,
}
_OPTUNAS = {ours: theirs for theirs, ours in _STATES.items()}
# Those that look at complete trials only: there an infeasible one is complete, with the worst values so far.
_COMPLETE_ONLY = ("gp", "nsgaii", "nsgaiii")
# Wants the same constraints of every trial.
_ALL_CONSTRAINED = ("gp",)


class OptunaStore:
    """A study. Trials are ended once, whoever tries: Optuna's storages see to that.

    Args:
        storage: see :func:`trainer.sweep.stores.optuna_storage.open_storage`.
        name: the study's.
        sampler: Optuna's, and its name in ``sweep.sampler``.
        pruner: Optuna's, None for none.
    """

    needs_values = True

    def __init__(
        self,
        storage: Any,
        name: str,
        objectives: Sequence[Objective],
        space: SearchSpace,
        sampler: Any,
        sampler_name: str,
        pruner: Any = None,
    ) -> None:
        self._space, self._objectives, self._sampler = space, objectives, sampler_name
        self._open: dict[int, optuna.trial.Trial] = {}
        self._ended: dict[int, TrialRecord] = {}  # these don't change any more
        with reaching(), _quiet():
            self.study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=[StudyDirection[objective.direction.upper()] for objective in objectives],
                sampler=sampler,
                pruner=pruner or optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
            names = [objective.name for objective in objectives]
            if self.study.metric_names != names:
                self.study.set_metric_names(names)

    def trials(self) -> list[TrialRecord]:
        with reaching():
            return [self._seen(trial) for trial in self.study.get_trials(deepcopy=False)]

    def ask(self, notes: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> TrialRecord:
        with reaching():
            trial = self.study.ask()
            for name, note in notes.items():
                trial.set_user_attr(name, note)
            if params is not None:
                trial = self._given(trial, params)
            return self._suggested(trial)

    def take(self, number: int, notes: Mapping[str, Any]) -> TrialRecord:
        frozen = self._frozen(number)
        if frozen.state != TrialState.RUNNING:
            raise TrialGone
        with reaching():
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            try:
                for name, note in notes.items():
                    trial.set_user_attr(name, note)
                # What has been suggested stays; a driver killed in the middle has left the rest to do.
                return self._suggested(trial)
            except UpdateFinishedTrialError:
                raise TrialGone from None

    def note(self, number: int, notes: Mapping[str, Any]) -> None:
        with reaching():
            try:
                for name, note in notes.items():
                    self._open[number].set_user_attr(name, note)
            except UpdateFinishedTrialError:
                raise TrialGone from None

    def report(self, number: int, step: int, value: float) -> bool:
        trial = self._open[number]
        with reaching():
            if step in self._read(trial).reported:
                return False
            try:
                trial.report(value, step)
                return bool(trial.should_prune())  # of some pruners it is numpy's
            except UpdateFinishedTrialError:
                raise TrialGone from None

    def finish(
        self,
        number: int,
        state: str,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> bool:
        trial = self._open[number]
        if self._sampler in _ALL_CONSTRAINED and state == trial_store.COMPLETE:
            constraints = {"memory": -1.0, **(constraints or {})}
        with reaching():
            try:
                known = trial.constraints
                for name, value in (constraints or {}).items():
                    if name not in known:
                        trial.set_constraint(name, value)
                self.study.tell(trial, values=values, state=_OPTUNAS[state])
            except (UpdateFinishedTrialError, ValueError):
                if self._frozen(number).state == TrialState.RUNNING:
                    raise  # it is not that another driver was faster
                return False
        self._open.pop(number, None)
        return True

    def infeasible(self, number: int, name: str) -> bool:
        constraints = {name: 1.0}
        worst = self._worst() if self._sampler in _COMPLETE_ONLY else None
        if worst is None:
            return self.finish(number, trial_store.PRUNED, constraints=constraints)
        others = {one.text: 0.0 for one in self._space.constraints}
        return self.finish(number, trial_store.COMPLETE, worst, {**others, **constraints})

    def about(self) -> dict[str, Any]:
        with reaching():
            return dict(self.study.user_attrs.get(ABOUT, {}))

    def describe(self, about: Mapping[str, Any]) -> None:
        with reaching():
            self.study.set_user_attr(ABOUT, dict(about))

    def close(self) -> None:
        storage = self.study._storage
        backend = getattr(storage, "_backend", storage)  # a cached database
        for method in ("remove_session", "close"):
            if callable(leave := getattr(backend, method, None)):
                leave()
                return

    def _seen(self, trial: FrozenTrial) -> TrialRecord:
        found = self._ended.get(trial.number)
        if found is None:
            found = _record(trial)
            if trial.state.is_finished():
                self._ended[trial.number] = found
        return found

    def _suggested(self, trial: optuna.trial.Trial) -> TrialRecord:
        """The trial with values.

        Raises:
            FrameworkError: the sampler can't give any; the trial has failed.
        """
        try:
            self._space.suggest(trial)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            if is_down(error):
                raise
            self.study.tell(trial, state=TrialState.FAIL)
            raise FrameworkError(
                f"sweep.sampler={self._sampler} fails: {type(error).__name__}: {error}"
            ) from error
        self._open[trial.number] = trial
        return self._read(trial)

    def _given(self, trial: optuna.trial.Trial, params: Mapping[str, Any]) -> optuna.trial.Trial:
        """The trial with values from us: what Optuna does with trials that were enqueued."""
        self.study._storage.set_trial_system_attr(trial._trial_id, "fixed_params", dict(params))
        return optuna.trial.Trial(self.study, trial._trial_id)

    def _worst(self) -> list[float] | None:
        told = [
            record.values
            for record in self.trials()
            if record.state == trial_store.COMPLETE and record.values
        ]
        if not told:
            return None
        worst = [max if objective.mode == "min" else min for objective in self._objectives]
        return [pick(values) for pick, values in zip(worst, zip(*told, strict=True), strict=True)]

    def _frozen(self, number: int) -> FrozenTrial:
        with reaching():
            return self.study.get_trials(deepcopy=False)[number]

    def _read(self, trial: optuna.trial.Trial) -> TrialRecord:
        return _record(self.study._storage.get_trial(trial._trial_id))


ABOUT = "sweep"


def read_study(storage: Any, name: str) -> list[TrialRecord]:
    """All trials of a study, without any part in it."""
    study = optuna.load_study(study_name=name, storage=storage)
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        state=_STATES[trial.state],
        params=dict(trial.params),
        values=None if trial.values is None else tuple(trial.values),
        notes=dict(trial.user_attrs),
        reported={step: value for step, value in trial.intermediate_values.items() if not math.isnan(value)},
        constraints=trial.constraints,
        started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
