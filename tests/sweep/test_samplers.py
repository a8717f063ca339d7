"""Samplers and pruners by name, their options, and what is said when a package is missing."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import optuna
import pytest

from trainer.config.overrides import parse_override
from trainer.core.errors import ConfigError
from trainer.schema import PRUNERS, SAMPLERS, Sweep, Task
from trainer.sweep.objectives import Objective, read_objectives
from trainer.sweep.space.grammar import parameter
from trainer.sweep.space.space import Condition, Parameter, SearchSpace
from trainer.sweep.stores import optuna_arguments as options
from trainer.sweep.stores.pruners import make_pruner, pruner_mistakes
from trainer.sweep.stores.samplers import make_sampler, sampler_mistakes

CLASSES = {
    "grid": "CombinationsSampler",
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
}


def space(*words: str) -> SearchSpace:
    return SearchSpace(
        (), tuple(parameter(parse_override(word), {}.get, lambda key, value: value) for word in words)
    )


CHOICES = space("x=range(0,10)", "c=choice(a,b)")
NUMBERS = space("x=interval(0,1)", "y=tag(log,interval(1e-3,1))")


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "auto"])
def test_every_sampler_asks(name: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that a user would have to wonder about
        sampler = make_sampler(Sweep(sampler=name), CHOICES)
        study = optuna.create_study(sampler=sampler)
        for number in range(3):
            trial = study.ask()
            CHOICES.suggest(trial)
            study.tell(trial, number)
    assert type(sampler).__name__ == CLASSES[name]


def told(sampler: Any, count: int = 14, where: SearchSpace = NUMBERS) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=sampler)
    for _ in range(count):
        trial = study.ask()
        values = where.suggest(trial)
        study.tell(trial, sum(values.values()))
    return [trial.params for trial in study.trials]


def test_a_seed_is_optunas_own() -> None:
    ours = told(make_sampler(Sweep(sampler="tpe", seed=5), NUMBERS))
    assert ours == told(optuna.samplers.TPESampler(seed=5))
    assert ours != told(make_sampler(Sweep(sampler="tpe", seed=6), NUMBERS))


def test_who_goes_on_with_a_study_draws_other_values() -> None:
    def first(name: str, salt: int) -> list[dict[str, Any]]:
        return told(make_sampler(Sweep(sampler=name), NUMBERS, salt=salt), 3)

    for name in ("random", "tpe", "nsgaii"):
        assert first(name, 0) != first(name, 3)
    assert first("qmc", 0)[1:] == first("qmc", 3)[1:]  # its place in the sequence is kept in the study


def test_conditional_spaces_are_sampled_by_groups_of_parameters() -> None:
    child = Parameter("y", "y", "float", low=0.0, high=1.0, when=(Condition("c", ("a",)),))
    some = SearchSpace((), (*CHOICES.parameters, child))
    assert make_sampler(Sweep(sampler="tpe"), some)._group
    assert not make_sampler(Sweep(sampler="tpe"), CHOICES)._group
    assert not make_sampler(Sweep(sampler="tpe"), some, objectives=2)._group
    independent = Sweep(sampler="tpe", sampler_options={"multivariate": False})
    assert not make_sampler(independent, some)._group


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("tpe", {"n_startup_trial": 3}, "Did you mean 'n_startup_trials'"),
        ("tpe", {"n_startup_trials": "x"}, "expected int, got 'x'"),
        ("tpe", {"n_startup_trials": 1.5}, "expected int, got 1.5"),
        ("tpe", {"constant_liar": 1}, "expected bool, got 1"),
        ("tpe", {"gamma": 3}, "has no such option"),
        ("nsgaii", {"population_size": 1}, "population_size"),
        ("qmc", {"qmc_type": "x"}, "qmc"),
        ("grid", {"seed": 1}, "has no such option"),
    ],
)
def test_wrong_options_of_a_sampler(name: str, given: dict[str, Any], message: str) -> None:
    (mistake,) = sampler_mistakes(Sweep(sampler=name, sampler_options=given), CHOICES)
    assert mistake.startswith("sweep.sampler_options")
    assert message in mistake


def test_options_reach_the_sampler() -> None:
    sampler = make_sampler(Sweep(sampler="tpe", sampler_options={"n_startup_trials": 3, "seed": 9}), CHOICES)
    assert sampler._n_startup_trials == 3


@pytest.mark.parametrize(
    ("name", "module"),
    [("cmaes", "cmaes"), ("gp", "torch"), ("qmc", "scipy"), ("auto", "optunahub"), ("tpe", "optuna")],
)
def test_a_missing_package_gives_one_line(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        options.importlib.util, "find_spec", lambda wanted: None if wanted == module else real(wanted)
    )
    (mistake,) = sampler_mistakes(Sweep(name="optuna", sampler=name), CHOICES)
    assert f"pip install {module}" in mistake
    assert sampler_mistakes(Sweep(sampler="grid"), CHOICES) == []


def test_cmaes_has_one_objective() -> None:
    pytest.importorskip("cmaes")
    assert "one objective" in sampler_mistakes(Sweep(sampler="cmaes"), CHOICES, 2)[0]


def test_a_grid_must_end() -> None:
    assert "sweep=optuna" in sampler_mistakes(Sweep(sampler="grid"), NUMBERS)[0]
    huge = space("a=range(0,1000)", "b=range(0,1000)")
    assert "100,000 combinations" in sampler_mistakes(Sweep(sampler="grid"), huge)[0]


GOOD = {
    "median": {"n_warmup_steps": 2},
    "hyperband": {"reduction_factor": 2},
    "successive_halving": {},
    "patient": {"patience": 2, "wrapped_pruner": "median", "wrapped_options": {"n_startup_trials": 1}},
    "threshold": {"lower": 0.1},
    "percentile": {},
}


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
def test_every_pruner_decides(name: str) -> None:
    pruner = make_pruner(Sweep(pruner=name, pruner_options=GOOD[name]), epochs=9)
    study = optuna.create_study(pruner=pruner, direction="maximize")
    decided = []
    for number in range(12):
        trial = study.ask()
        for step in range(1, 10):
            trial.report(0.05 - 0.001 * step - 0.003 * number if number % 2 else 0.5 + 0.01 * number, step)
            if trial.should_prune():
                decided.append(number)
                break
        study.tell(trial, 0.01 * number)
    assert set(decided) & {1, 3, 5, 7, 9, 11}


def test_nothing_is_pruned_in_the_first_quarter_unless_an_option_says_so() -> None:
    def made(name: str, epochs: int | None, **given: Any) -> Any:
        return make_pruner(Sweep(pruner=name, pruner_options=given), epochs=epochs)

    assert made("median", 20)._n_warmup_steps == made("percentile", 20)._n_warmup_steps == 5
    assert made("threshold", 20, lower=0.1)._n_warmup_steps == 5
    assert made("successive_halving", 20)._min_resource == 5 == made("successive_halving", 22)._min_resource
    assert made("median", 20, n_warmup_steps=0)._n_warmup_steps == 0 == made("median", None)._n_warmup_steps
    inner = made("patient", 20, wrapped_pruner="median")._wrapped_pruner
    assert inner._n_warmup_steps == 5


def test_hyperband_knows_the_epochs() -> None:
    assert make_pruner(Sweep(pruner="hyperband"), epochs=27)._max_resource == 27
    options = {"max_resource": 9}
    assert make_pruner(Sweep(pruner="hyperband", pruner_options=options), epochs=27)._max_resource == 9


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("none", {"n_warmup_steps": 1}, "ignored without a pruner"),
        ("median", {"n_warmup_step": 1}, "Did you mean 'n_warmup_steps'"),
        ("threshold", {}, "lower or .upper is missing"),
        ("patient", {"wrapped_pruner": "meridian"}, "Did you mean 'median'"),
        ("patient", {"wrapped_options": {"a": 1}}, "ignored without wrapped_pruner"),
        ("patient", {"wrapped_pruner": "median", "wrapped_options": {"a": 1}}, "wrapped_options.a"),
        ("percentile", {"percentile": 400.0}, "ercentile"),
    ],
)
def test_wrong_options_of_a_pruner(name: str, given: dict[str, Any], message: str) -> None:
    (mistake,) = pruner_mistakes(Sweep(pruner=name, pruner_options=given))
    assert message in mistake


def test_several_objectives_are_not_pruned() -> None:
    objectives = (Objective("mAP50", "max"), Objective("parameters", "min"))
    (mistake,) = pruner_mistakes(Sweep(pruner="median"), objectives)
    assert "one objective, and there are mAP50 and parameters" in mistake
    assert pruner_mistakes(Sweep(), objectives) == []


def test_objectives() -> None:
    task = Task()

    def names(*given: str) -> list[tuple[str, str]]:
        return [(one.name, one.mode) for one in read_objectives(Sweep(objectives=list(given)), task)]

    assert names() == [("mAP50-95", "max")]
    assert names("primary", "params") == [("mAP50-95", "max"), ("parameters", "min")]
    assert names("-mAP50", "images_per_second:min") == [("mAP50", "min"), ("images_per_second", "min")]
    with pytest.raises(ConfigError) as caught:
        names("mAP", "mAP50:up", "mAP75", "mAP75")
    assert len(caught.value.message.splitlines()) == 3
    assert "Did you mean 'mAP" in caught.value.message
