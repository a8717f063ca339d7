"""What counts of an event log."""

from __future__ import annotations

import pytest
from made_up import append, epoch_of, started

from trainer.core.errors import ConfigError
from trainer.plots.run_series import RunSeries


def test_it_is_read_on_as_the_log_grows(made_up):
    run = made_up(epochs=2)
    history = RunSeries.of(run.dir)
    assert [e["iter"] for e in history.train] == [5, 10, 15, 20] and not history.update()
    with run.events.open("a") as file:
        file.write('{"type": "train", "iter": 25, "ep')
    assert not history.update()
    with run.events.open("a") as file:
        file.write('och": 3, "losses": {}}\n')
    assert history.update() and history.train[-1]["iter"] == 25
    assert (history.subject, history.by_epoch) == ("rtmdet-s on digits", True)


def test_what_a_resume_went_back_behind_is_gone(made_up):
    run = made_up(epochs=3)
    history = RunSeries.of(run.dir)
    append(
        run, [started(resumed=True), {"type": "resumed", "epoch": 1, "iter": 10}, *epoch_of(2, ["a"], 0.9)]
    )
    history.update()
    assert [e["iter"] for e in history.validations] == [10, 20]
    assert history.best()["metrics"]["mAP50-95"] == 0.9
    append(run, [started()])
    history.update()
    assert not history.train and history.best() is None


def test_the_best_is_the_first_of_equal_ones_and_the_last_where_none_is_scored(made_up):
    run = made_up(epochs=1)
    append(run, [*epoch_of(2, ["a"], 0.5), *epoch_of(3, ["a"], 0.5), *epoch_of(4, ["a"], 0.2)])
    assert RunSeries.of(run.dir).best()["epoch"] == 2
    append(run, [started(primary_metric={"name": "mAP50-95", "mode": "min"}, resumed=True)])
    assert RunSeries.of(run.dir).best()["epoch"] == 1
    append(run, [started(primary_metric={"name": "nothing", "mode": "max"}, resumed=True)])
    assert RunSeries.of(run.dir).best()["epoch"] == 4


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="run.json"):
        RunSeries.of(tmp_path)
