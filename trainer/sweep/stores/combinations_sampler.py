"""Optuna's grid for spaces whose trials don't all have the same parameters. Imported where Optuna is used alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

ATTRIBUTE = "trainer:combination"


class CombinationsSampler(BaseSampler):
    """Gives each trial the next of some combinations that no other trial has.

    As Optuna's ``GridSampler``, which wants the full product, it notes the combination's number in the trial and
    starts again with those that no trial has ended with once all were begun.
    """

    def __init__(self, combinations: Sequence[Mapping[str, Any]]) -> None:
        self._combinations = list(combinations)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if "fixed_params" in trial.system_attrs or ATTRIBUTE in trial.system_attrs:
            return  # a trial that was put into the queue has its values
        number = trial.number
        if number >= len(self._combinations):
            number = self._unvisited(study, trial)
        study._storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, number)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        number = study._storage.get_trial_system_attrs(trial._trial_id)[ATTRIBUTE]
        return self._combinations[number][param_name]

    def _unvisited(self, study: Study, trial: FrozenTrial) -> int:
        others = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        ended = {one.system_attrs.get(ATTRIBUTE) for one in others if one.state.is_finished()}
        begun = {one.system_attrs.get(ATTRIBUTE) for one in others if one.state == TrialState.RUNNING}
        everything = range(len(self._combinations))
        for without in (ended | begun, ended, set()):
            if left := [number for number in everything if number not in without]:
                return left[0]
        return 0
