"""What both stores promise: numbers in order, one end for each trial, nothing lost to a kill."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.core.errors import FrameworkError
from trainer.sweep.objectives import Objective
from trainer.sweep.space import Parameter, SearchSpace
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.plain_journal import JournalGridStore
from trainer.sweep.stores.trial_store import TrialGone, TrialRecord, TrialStore, is_surplus

SPACE = SearchSpace((), (Parameter("optimizer.lr", "optimizer.lr", "float", low=1e-4, high=1e-1, log=True),))
UP = Objective("mAP50-95", "max")


def optuna_store(path: Path, sampler: str = "random", **options: Any) -> Any:
    import optuna

    from trainer.sweep.stores.optuna_storage import open_storage
    from trainer.sweep.stores.optuna_store import OptunaStore

    samplers = {
        "random": optuna.samplers.RandomSampler(seed=0),
        "tpe": optuna.samplers.TPESampler(seed=0, n_startup_trials=2),
        "gp": optuna.samplers.GPSampler(seed=0, n_startup_trials=2),
        "nsgaii": optuna.samplers.NSGAIISampler(seed=0, population_size=2),
    }
    objectives = options.pop("objectives", [UP])
    storage = open_storage(None, path / "journal.log")
    return OptunaStore(storage, "study", objectives, SPACE, samplers[sampler], sampler, **options)


@pytest.fixture(params=["plain", "optuna"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], TrialStore]]:
    """Opens the same store again and again, as drivers do."""
    if request.param == "plain":
        yield lambda: JournalGridStore(tmp_path / "journal.jsonl")
    else:
        yield lambda: optuna_store(tmp_path)


def test_a_trial_from_its_beginning_to_its_end(opened: Callable[[], TrialStore]) -> None:
    store = opened()
    first = store.ask({"lease": {"owner": "me"}}, {"optimizer.lr": 0.01})
    assert (first.number, first.state, first.params) == (0, states.RUNNING, {"optimizer.lr": 0.01})
    assert store.ask({}, {"optimizer.lr": 0.02}).number == 1
    assert store.report(0, 1, 0.25) is False
    assert store.report(0, 1, 0.99) is False  # told twice counts once
    store.note(0, {"label": "lr=0.01", "lease": None})
    assert store.finish(0, states.COMPLETE, [0.5], {"size": -1.0}) is True
    seen = opened().trials()
    assert [(one.number, one.state) for one in seen] == [(0, states.COMPLETE), (1, states.RUNNING)]
    assert (seen[0].values, seen[0].reported, seen[0].constraints) == ((0.5,), {1: 0.25}, {"size": -1.0})
    assert seen[0].notes["label"] == "lr=0.01" and seen[0].notes["lease"] is None
    assert seen[0].finished and seen[0].feasible and not seen[1].finished
    assert seen[0].started is not None and seen[0].ended is not None and seen[0].ended >= seen[0].started
    store.close()


def test_a_trial_ends_once(opened: Callable[[], TrialStore]) -> None:
    one, other = opened(), opened()
    one.ask({}, {"optimizer.lr": 0.01})
    taken = other.take(0, {"lease": {"owner": "other"}})
    assert taken.params == {"optimizer.lr": 0.01} and taken.notes["lease"] == {"owner": "other"}
    assert one.finish(0, states.PRUNED) is True
    assert other.finish(0, states.COMPLETE, [0.5]) is False
    with pytest.raises(TrialGone):
        other.note(0, {"a": 1})
    with pytest.raises(TrialGone):
        other.report(0, 1, 0.5)
    with pytest.raises(TrialGone):
        opened().take(0, {"a": 1})
    assert opened().trials()[0].state == states.PRUNED


def test_a_pruned_trial_has_its_last_value(opened: Callable[[], TrialStore]) -> None:
    store = opened()
    store.ask({}, {"optimizer.lr": 0.01})
    store.report(0, 1, 0.1)
    store.report(0, 3, 0.3)
    store.finish(0, states.PRUNED)
    assert store.trials()[0].values == (0.3,) and store.trials()[0].finished


def test_it_says_what_the_sweep_is(opened: Callable[[], TrialStore]) -> None:
    store = opened()
    assert store.about() == {}
    store.describe({"words": ["a=1"], "n": 1})
    assert opened().about() == {"words": ["a=1"], "n": 1}


def test_numbers_are_given_once_to_drivers_that_ask_together(opened: Callable[[], TrialStore]) -> None:
    numbers: list[int] = []

    def ask() -> None:
        store = opened()
        numbers.extend(store.ask({}, {"optimizer.lr": 0.01}).number for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(15))


def test_a_torn_line_is_cut_off_by_the_next_writer(tmp_path: Path, opened: Callable[[], TrialStore]) -> None:
    store = opened()
    store.ask({}, {"optimizer.lr": 0.01})
    (journal,) = (path for path in tmp_path.iterdir() if path.name in ("journal.log", "journal.jsonl"))
    for torn in (b'{"op_code": 4, "worker', b'{"op": "begin", "num'):
        with journal.open("ab") as file:
            file.write(torn)
        assert len(opened().trials()) == len(store.trials())
        opened().ask({}, {"optimizer.lr": 0.01})
    assert [one.number for one in store.trials()] == [0, 1, 2]
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_sampler_that_fails_stops_the_sweep_and_not_for_ever(tmp_path: Path) -> None:
    import optuna

    class Broken(optuna.samplers.RandomSampler):
        def sample_independent(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError("no values today")

    store = optuna_store(tmp_path)
    store.study.sampler = Broken()
    with pytest.raises(
        FrameworkError, match="sweep.sampler=random fails: ZeroDivisionError: no values today"
    ):
        store.ask({"lease": None})
    assert [one.state for one in store.trials()] == [states.FAIL]
    assert optuna_store(tmp_path).ask({}).number == 1


def test_nobody_keeps_more_trials_than_were_asked_for() -> None:
    running = [TrialRecord(number, states.RUNNING) for number in range(4)]
    assert [is_surplus(one, running, 3) for one in running] == [False, False, False, True]
    failed = [
        TrialRecord(0, states.FAIL),
        TrialRecord(1, states.PRUNED, notes={"refused": ["x"]}),
        *running[2:],
    ]
    assert not any(is_surplus(one, failed, 2) for one in failed[2:])


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii"])
def test_what_memory_cannot_hold_is_infeasible_for_every_sampler(sampler: str, tmp_path: Path) -> None:
    store = optuna_store(tmp_path, sampler)
    for number, state in enumerate("cmcmcc"):
        store.ask({})
        if state == "m":
            store.infeasible(number, "memory")
        else:
            store.finish(number, states.COMPLETE, [0.1 * number])
    found = store.trials()
    assert [one.feasible for one in found] == [True, False, True, False, True, True]
    learned = states.PRUNED if sampler == "tpe" else states.COMPLETE
    assert [found[1].state, found[3].state] == [learned] * 2
    assert store.study.best_trial.number == 5
    store.ask({})  # and it can go on from there


def test_infeasible_with_several_objectives(tmp_path: Path) -> None:
    store = optuna_store(tmp_path, "nsgaii", objectives=[UP, Objective("parameters", "min")])
    for number, values in enumerate([[0.5, 10.0], [0.2, 30.0], None]):
        store.ask({})
        if values:
            store.finish(number, states.COMPLETE, values)
        else:
            store.infeasible(number, "memory")
    assert store.trials()[2].values == (0.2, 30.0) and not store.trials()[2].feasible
    assert [trial.number for trial in store.study.best_trials] == [0]


def test_the_pruner_decides_by_what_was_reported(tmp_path: Path) -> None:
    import optuna

    store = optuna_store(tmp_path, pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0))
    store.ask({})
    assert [store.report(0, epoch, 0.5) for epoch in (1, 2)] == [False, False]
    store.finish(0, states.COMPLETE, [0.5])
    store.ask({})
    assert store.report(1, 1, 0.4) is True
    again = optuna_store(tmp_path, pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0))
    again.take(1, {"lease": {"owner": "again"}})
    assert again.report(1, 1, 0.4) is False  # told before
    assert again.report(1, 2, 0.4) is True


def test_a_trial_that_a_driver_left_half_asked_for_is_completed(tmp_path: Path) -> None:
    store = optuna_store(tmp_path)
    store.study.ask()  # killed before it chose values
    taken = store.take(0, {"lease": {"owner": "me"}})
    assert 1e-4 <= taken.params["optimizer.lr"] <= 1e-1
    assert optuna_store(tmp_path).take(0, {}).params == taken.params
