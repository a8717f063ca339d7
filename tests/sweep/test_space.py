"""The words of a search space: what they mean, under every sampler, and back to words."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest

from trainer.config.overrides import parse_override
from trainer.core.errors import ConfigError
from trainer.schema import Sweep
from trainer.sweep.space.conditions import split_name
from trainer.sweep.space.grammar import parameter, word_of
from trainer.sweep.space.render import render
from trainer.sweep.space.space import Condition, Parameter, SearchSpace
from trainer.sweep.stores.samplers import make_sampler


def read(word: str) -> Parameter:
    groups = {"model": ["rtmdet-s", "rtmdet-m", "yolox-s"]}
    return parameter(parse_override(word), groups.get, lambda key, value: value)


def grid(*words: str) -> list[dict[str, Any]]:
    return list(SearchSpace((), tuple(map(read, words))).grid())


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("a=1,2", [1, 2]),
        ("a=choice(x,y)", ["x", "y"]),
        ("a=range(1,5)", [1, 2, 3, 4]),
        ("a=range(3)", [0, 1, 2]),
        ("a=range(5,1,-2)", [5, 3]),
        ("a=range(0.3,0.9,0.3)", [0.3, 0.6]),
        ("a=range(0,0.3,0.1)", [0.0, 0.1, 0.2]),
        ("a=sort(3,1,2)", [1, 2, 3]),
        ("a=int(1.0,2.0)", [1, 2]),
        ("a=int(interval(1,4))", [1, 2, 3, 4]),
        ("a=tag(int,interval(1,4))", [1, 2, 3, 4]),
        ("a=tag(log,int(interval(1,4)))", [1, 2, 3, 4]),
        ("a=null,true,1.5,'1',x", [None, True, 1.5, "1", "x"]),
        ("a=[1,2],[3]", ["[1,2]", "[3]"]),
        ("model=glob(rtmdet-*)", ["rtmdet-s", "rtmdet-m"]),
        ("model=glob([rtmdet-*,yolox-*],exclude=*-m)", ["rtmdet-s", "yolox-s"]),
    ],
)
def test_what_words_mean(word: str, values: list[Any]) -> None:
    assert [repr(value) for value in read(word).all_values()] == [repr(value) for value in values]


def test_intervals() -> None:
    one = read("a=interval(1,8)")
    assert (one.kind, one.low, one.high, one.step, one.log) == ("float", 1.0, 8.0, None, False)
    assert read("a=tag(log,interval(1e-4,1e-1))").log
    assert (
        read("a=int(tag(log,interval(1,64)))").describe() == read("a=tag(log,int,interval(1,64))").describe()
    )
    assert read("a=tag(log,range(1,9))").high == 8


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=range(5,1)", "gives no value"),
        ("a=interval(2,1)", "interval(1,2)"),
        ("a=tag(log,interval(0,1))", "numbers > 0, got 0"),
        ("a=tag(lgo,interval(1,2))", "Did you mean 'log'?"),
        ("a=tag(int,interval(1.5,2))", "whole numbers"),
        ("a=tag(log,range(1,9,2))", "steps of 1"),
        ("a=tag(log,choice(1,2))", "choices have no order"),
        ("a=1,2,1", "1 is given twice"),
        ("a=true,1", "true and 1"),
        ("a=glob(x*)", "chooses from a group"),
        ("model=glob(rtmdt-*)", "none matches. Did you mean 'rtmdet-s'"),
    ],
)
def test_what_is_no_space(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(word)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=range(1,5,0)", "step can't be 0"),
        ("a=range(0,inf)", "must be numbers"),
        ("a=interval(nan,1)", "must be numbers"),
        ("a=interval(1)", "can't be read"),
        ("a=choice()", "empty choice"),
    ],
)
def test_what_is_no_word(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_override(word)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("tag(log, interval(1e-4, 1))", "k=tag(log, interval(1e-4, 1))"),
        ([1, 2.5, "a b", None], "k=1,2.5,'a b',null"),
        (["x"], "k=choice(x)"),
        ([[1, 2], [3]], "k=[1,2],[3]"),
        (0.5, "k=0.5"),
        ({"choices": [1, 2]}, "k=1,2"),
        ({"low": 1e-4, "high": 1, "log": True}, "k=tag(log,interval(0.0001,1))"),
        ({"low": 1, "high": 8}, "k=int(interval(1,8))"),
        ({"low": 1, "high": 8, "type": "float"}, "k=interval(1,8)"),
    ],
)
def test_entries_of_a_file_are_words(value: Any, word: str) -> None:
    assert word_of("k", value) == word


def test_a_step_in_a_file_includes_the_upper_end() -> None:
    assert read(word_of("k", {"low": 2, "high": 8, "step": 2})).all_values() == [2, 4, 6, 8]
    assert read(word_of("k", {"low": 0.1, "high": 0.5, "step": 0.2})).all_values() == [0.1, 0.3, 0.5]


@pytest.mark.parametrize(
    "value", [{"low": 1}, {"lo": 1, "high": 2}, {"low": 1, "high": 2, "step": 0}, {"choices": 3}, []]
)
def test_mappings_that_mean_nothing(value: Any) -> None:
    with pytest.raises(ConfigError):
        word_of("k", value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            1e-5,
            0.1 + 0.2,
            1e22,
            5,
            -3,
            True,
            None,
            "a",
            "true",
            "null",
            "1",
            "1e3",
            "a b",
            "it's",
            'say "x"',
        ),
        *("x\\", "\\'", "", "a,b", "a:b", "[1]", "range(1,2)", "${oc.env:HOME}", "a/b", "#x", "é", "=", "-x"),
        *([1, "a b", [2.5]], {"a": "1", "b": [None]}, [], {}),
    ],
)
def test_rendered_values_are_read_back_unchanged(value: Any) -> None:
    typed = parse_override(f"key={render(value)}")
    assert not typed.is_sweep
    assert typed.value == value
    assert type(typed.value) is type(value)
    assert parse_override(f"key={render([value])}").value == [value]


def test_the_grid_is_hydras() -> None:
    words = ["a=1,2", "b=choice(x,y)", "c=range(1,3)"]
    space = SearchSpace(("d=0",), tuple(map(read, words)))
    assert [space.words(values) for values in space.grid()] == [
        ["d=0", f"a={a}", f"b={b}", f"c={c}"] for a, b, c in itertools.product((1, 2), "xy", (1, 2))
    ]
    assert space.size == 8


def test_a_grid_of_endless_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="sweep=optuna"):
        grid("a=interval(0,1)")
    assert SearchSpace((), (read("a=interval(0,1)"),)).size is None
    with pytest.raises(ConfigError, match="too many"):
        grid("a=range(0,1000000000000)")


def test_shuffled_values_have_one_order_a_seed() -> None:
    one = read("a=shuffle(range(0,20))")
    assert one.all_values(3) == one.all_values(3) != one.all_values(4)
    assert sorted(one.all_values(3)) == list(range(20))
    assert sorted(read("a=shuffle(x,y,z)").all_values(1)) == ["x", "y", "z"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "qmc", "nsgaii", "nsgaiii", "grid"])
def test_a_range_means_the_same_under_every_sampler(sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    space = SearchSpace((), (read("a=range(1,5)"), read("b=range(0.1,0.5,0.1)")))
    study = optuna.create_study(sampler=make_sampler(Sweep(sampler=sampler), space))
    seen: list[dict[str, Any]] = []
    for _ in range(13 if sampler in ("gp", "cmaes") else 40):
        trial = study.ask()
        seen.append(space.suggest(trial))
        study.tell(trial, seen[-1]["a"] * seen[-1]["b"])
    assert {values["a"] for values in seen} <= {1, 2, 3, 4}
    assert {values["b"] for values in seen} <= {0.1, 0.2, 0.3, 0.4}
    words = {word for trial in study.trials for word in space.words(trial.params)}
    assert words <= {f"a={a}" for a in (1, 2, 3, 4)} | {f"b={b}" for b in (0.1, 0.2, 0.3, 0.4)}
    if sampler in ("random", "grid", "tpe", "qmc"):
        assert {values["a"] for values in seen} == {1, 2, 3, 4}
        assert {values["b"] for values in seen} == {0.1, 0.2, 0.3, 0.4}


def conditional() -> SearchSpace:
    sgd, adam = Condition("opt", ("sgd",)), Condition("opt", ("adam", "adamw"))
    return SearchSpace(
        ("fixed=1",),
        (
            read("opt=sgd,adam,adamw"),
            Parameter("lr if opt=sgd", "lr", "categorical", (1.0, 2.0), ("1.0", "2.0"), when=(sgd,)),
            Parameter("lr if opt=adam,adamw", "lr", "categorical", (0.1,), ("0.1",), when=(adam,)),
            Parameter("nesterov", "nesterov", "constant", (True,), ("true",), when=(sgd,)),
        ),
    )


def test_conditional_parameters_are_asked_for_where_they_apply() -> None:
    space = conditional()
    combinations = [space.words(values) for values in space.grid()]
    assert combinations == [
        ["fixed=1", "opt=sgd", "lr=1.0", "nesterov=true"],
        ["fixed=1", "opt=sgd", "lr=2.0", "nesterov=true"],
        ["fixed=1", "opt=adam", "lr=0.1"],
        ["fixed=1", "opt=adamw", "lr=0.1"],
    ]
    study = optuna.create_study(sampler=make_sampler(Sweep(sampler="tpe"), space))
    for number in range(24):
        trial = study.ask()
        values = space.suggest(trial)
        assert space.words(values) == space.words(trial.params)
        assert space.words(values) in combinations
        study.tell(trial, number)
    assert space.conditional
    assert space.figures({"opt": "sgd", "lr if opt=sgd": 2.0}) == {"opt": "sgd", "lr": 2.0}


def test_the_grid_sampler_gives_each_combination_once() -> None:
    space = conditional()
    study = optuna.create_study(sampler=make_sampler(Sweep(sampler="grid"), space))
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        space.suggest(trial)
    study.tell(trials[1], state=optuna.trial.TrialState.FAIL)
    study.tell(trials[0], 1.0)
    study.enqueue_trial(dict(trials[1].params))  # as a driver does that tries a failed one again
    again = study.ask()
    assert space.suggest(again) == dict(trials[1].params)
    fresh = study.ask()  # its number is beyond the grid: it gets what nobody has
    space.suggest(fresh)
    words = {tuple(space.words(trial.params)) for trial in (*trials, fresh)}
    assert words == {tuple(space.words(values)) for values in space.grid()}


def test_a_description_tells_spaces_apart() -> None:
    space = conditional()
    assert space.describe() == conditional().describe()
    other = SearchSpace(space.fixed, (*space.parameters, read("a=interval(0,1)")))
    assert other.describe() != space.describe()
    assert (
        SearchSpace((), (read("a=interval(0,2)"),)).describe()
        != SearchSpace((), (read("a=interval(0,1)"),)).describe()
    )
    assert "secret" not in str(SearchSpace((), (read("mm.password=secret1,secret2"),)).describe())


def test_names_of_entries() -> None:
    assert split_name("optimizer.lr") == ("optimizer.lr", [])
    assert split_name("a.b if x=1,2 and  y=z") == ("a.b", ["x=1,2", "y=z"])
    for name in ("a b", "a if b", "a=1", "a if b=1 and c"):
        with pytest.raises(ConfigError):
            split_name(name)
