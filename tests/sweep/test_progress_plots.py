"""Plots and the interactive page of a sweep."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.sweep.made_up import SPACE, made_up
from trainer.sweep.driver import finalize
from trainer.sweep.driver.finalize import draw
from trainer.sweep.report import progress_plots
from trainer.sweep.report.axis import axes
from trainer.sweep.report.results import SweepResults, read_results
from trainer.sweep.stores.in_memory_study import importances, make_study


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    return read_results(made_up(tmp_path_factory.mktemp("one") / "runs" / "sweeps" / "one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    folder = tmp_path_factory.mktemp("two") / "runs" / "sweeps" / "two"
    return read_results(made_up(folder, "mAP50-95", "latency"))


def test_everything_is_drawn(one: SweepResults) -> None:
    names = {path.name for path in draw(one)}
    assert names == {
        "history.png", "curves.png", "importance.png", "slices.png", "parallel.png", "sweep.html"
    }  # fmt: skip
    for path in (one.folder.dir / "plots").glob("*.png"):
        with Image.open(path) as picture:
            low, high = picture.convert("L").getextrema()
            assert min(picture.size) > 250 and low < 80 and high == 255


def test_the_page_needs_nothing_else_and_has_every_plot(one: SweepResults) -> None:
    page = one.folder.dir / "sweep.html"
    if not page.is_file():
        draw(one)
    text = page.read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", text)
    assert text.count("Plotly.newPlot(") >= 5
    assert text.count('class="plotly-graph-div"') == 5
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Trials", "What mattered", "Parallel coordinates", "Over each parameter", "Learning curves", "All trials"
    ]  # fmt: skip
    assert text.count("<tr") == 1 + len(one.rows)
    assert page.stat().st_size < 6e6


def test_several_objectives_have_a_front_and_no_learning_curves(two: SweepResults) -> None:
    names = {path.name for path in draw(two)}
    assert "pareto.png" in names and "curves.png" not in names
    text = (two.folder.dir / "sweep.html").read_text()
    assert "<h2>Pareto front</h2>" in text and "<h2>Trials: latency</h2>" in text


def test_what_decides_is_found_to_matter(one: SweepResults) -> None:
    (shares,) = importances(one).values()
    assert next(iter(shares)) == "model" and shares["model"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert "optimizer.lr" in shares and "optimizer.momentum" not in shares  # one key, whatever its condition


def test_a_study_has_the_trials_under_their_numbers(one: SweepResults) -> None:
    study = make_study(one)
    assert [trial.number for trial in study.trials] == [row["number"] for row in one.rows]
    assert study.best_trial.number == one.best[0]["number"]
    assert study.best_value == one.best[0]["values"]["mAP50-95"]


def test_an_axis_a_key_of_which_several_values_were_tried(one: SweepResults) -> None:
    found = {axis.key: axis for axis in axes(one)}
    assert list(found) == list(dict.fromkeys(told["key"] for told in SPACE))
    assert found["optimizer.lr"].log and not found["optimizer.momentum"].log
    assert set(found["model"].names) == {"rtmdet-tiny", "rtmdet-s", "rtmdet-m"}
    adamw = next(row for row in one.rows if row["params"]["optimizer"] == "adamw")
    assert found["optimizer.momentum"].position(adamw, one) is None


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    empty = read_results(made_up(tmp_path / "runs" / "sweeps" / "empty", trials=0))
    assert draw(empty) == [] and not (empty.folder.dir / "plots").exists()


def test_one_plot_that_fails_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    results = read_results(made_up(tmp_path / "runs" / "sweeps" / "mine", trials=6))

    def fail(*_: object) -> bool:
        raise RuntimeError("no ink")

    monkeypatch.setattr(progress_plots, "draw_history", fail)
    monkeypatch.setattr(finalize, "_page", lambda *_: False)  # slow, and not needed here
    names = {path.name for path in draw(results)}
    assert "history.png" not in names and {"curves.png", "slices.png"} <= names
    assert "no ink" in caplog.text
