"""Rows, the best of them, and what is shown."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainer.schema import Experiment, Sweep
from trainer.sweep.driver.outcome import TrialOutcome
from trainer.sweep.driver.running_trial import RunningTrial
from trainer.sweep.driver.slots import Slot
from trainer.sweep.driver.trial_start import label
from trainer.sweep.folder import SweepFolder
from trainer.sweep.objectives import Objective
from trainer.sweep.report import trial_rows as rows_module
from trainer.sweep.report.live_view import LiveView, SweepBoard, SweepView, final_table, summary
from trainer.sweep.report.trial_rows import best, rows
from trainer.sweep.space import Parameter, SearchSpace, SweepPlan
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.trial_store import TrialRecord

MAP, SIZE = Objective("mAP50-95", "max"), Objective("parameters", "min")
SPACE = SearchSpace((), (Parameter("optimizer.lr", "optimizer.lr", "float", low=1e-4, high=1e-1),))


def plan(*objectives: Objective, n_trials: int = 10) -> SweepPlan:
    sweep = Sweep(
        name="optuna", sampler="tpe", n_trials=n_trials, objectives=[one.name for one in objectives]
    )
    return SweepPlan("train", sweep, SPACE, objectives or (MAP,), Experiment())


def record(number: int, *values: float, state: str = states.COMPLETE, **notes: Any) -> TrialRecord:
    return TrialRecord(number, state, {"optimizer.lr": 0.01}, values or None, notes, started=0.0, ended=10.0)


def trial(number: int) -> RunningTrial:
    running = TrialRecord(number, states.RUNNING)
    words = ("x", f"sweep-{number}", Path("runs"), Path("log"))
    return RunningTrial(running, [], words[0], *words[1:], "mAP50-95", "max", Slot(0))


def board(
    records: list[TrialRecord], *objectives: Objective, running: dict[int, RunningTrial] | None = None
) -> SweepBoard:
    folder = SweepFolder(Path("runs/sweeps/mine"))
    counted = sum(one.finished for one in records)
    return SweepBoard(folder, plan(*objectives), records, running or {}, counted)


def test_the_best_is_feasible_and_the_first_of_equals() -> None:
    records = [record(0, 0.3), record(1, 0.5), record(2, 0.5), record(3, 0.4, state=states.PRUNED)]
    records.append(replace(record(4, 0.9), constraints={"parameters <= 1e6": 5.0}))
    records.append(replace(record(5, 0.9), notes={"infeasible": "memory"}))
    assert [one.number for one in best(records, [MAP])] == [1]
    assert [one.number for one in best(records[:4], [Objective("mAP50-95", "min")])] == [0]
    assert best([], [MAP]) == []


def test_the_front_of_several_objectives() -> None:
    records = [record(0, 0.3, 10.0), record(1, 0.5, 30.0), record(2, 0.2, 20.0), record(3, 0.5, 30.0)]
    assert [one.number for one in best(records, [MAP, SIZE])] == [0, 1]


def test_the_front_of_many_is_what_comparing_all_with_all_finds() -> None:
    dice = random.Random(0)
    for count, objectives in ((40, [MAP, SIZE]), (40, [MAP]), (25, [MAP, SIZE, Objective("latency", "min")])):
        records = [record(n, *(float(dice.randrange(6)) for _ in objectives)) for n in range(count)]
        found = [one.number for one in best(records, objectives)]
        assert found == [one.number for one in records if not any(beats(two, one) for two in records)]


def beats(one: TrialRecord, other: TrialRecord) -> bool:
    """As good in everything, and better in something or the earlier; the first value the greater the better."""
    assert one.values is not None and other.values is not None
    gains = [a - b for a, b in zip(one.values, other.values, strict=True)]
    gains[1:] = [-gain for gain in gains[1:]]
    return min(gains) >= 0 and (max(gains) > 0 or one.number < other.number)


def test_the_best_of_a_sweep_that_gets_better_and_better_takes_no_comparison_of_all_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    real = rows_module._as_good
    monkeypatch.setattr(rows_module, "_as_good", lambda *pair: compared.append(1) or real(*pair))
    assert [one.number for one in best([record(n, float(n)) for n in range(500)], [MAP])] == [499]
    assert len(compared) < 1000


def test_rows_say_everything_that_is_known() -> None:
    refused = record(1, state=states.PRUNED, refused=["a <= 1"])
    withdrawn = record(2, state=states.FAIL, withdrawn=True)
    memory = record(3, state=states.PRUNED, infeasible="memory", error="ResourceError: memory is full")
    found = rows([record(0, 0.5, label="lr=0.01", epochs=3), refused, withdrawn, memory], [MAP])
    assert [(row["number"], row["state"], row["best"]) for row in found] == [
        (0, "complete", True), (1, "refused", False), (3, "infeasible", False),
    ]  # fmt: skip
    assert found[0]["values"] == {"mAP50-95": 0.5} and found[0]["seconds"] == 10.0 and found[0]["epochs"] == 3
    assert not refused.finished and memory.finished


def shown(view_board: SweepBoard) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(final_table(view_board))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_final_table_has_every_trial_or_the_best_of_many() -> None:
    few = shown(board([record(0, 0.25, label="lr=0.01"), record(1, state=states.FAIL, error="it broke")]))
    assert all(word in few for word in ("2 trials", "lr=0.01", "0.2500", "it broke", "0 *"))
    many = shown(board([record(number, number / 100) for number in range(60)]))
    assert "60 trials, the best 40 of them" in many and "0.5900" in many and "0.1000" not in many
    front = shown(board([record(0, 0.25, 4_000_000.0)], MAP, SIZE))
    assert "4,000,000" in front


def test_the_summary_counts() -> None:
    records = [record(0, 0.25), record(1, 0.1, state=states.PRUNED), record(2, state=states.FAIL)]
    records += [record(3, state=states.PRUNED, infeasible="memory"), TrialRecord(4, states.RUNNING)]
    line = summary(board(records))
    assert line.startswith("3/10, 1 pruned, 1 failed, 1 infeasible  best mAP50-95 0.2500 (trial 0)")
    assert "1 run elsewhere" in line and line.endswith("left")
    assert "1 on the Pareto front" in summary(board([record(0, 0.2, 3.0)], MAP, SIZE))


def test_a_live_table_is_drawn_seldom_and_leaves_the_final_one() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    view, now = LiveView(console), board([record(0, 0.25, label="lr=0.01")], running={1: trial(1)})
    view.open(now)
    try:
        assert view.due
        view.show(now)
        assert not view.due
        view.ended(trial(0), states.COMPLETE, now)  # in the table, no line
        failed = trial(0)
        failed.outcome = TrialOutcome("failed", "it broke [/x]")
        view.ended(failed, states.FAIL, board([record(0, state=states.FAIL)]))
    finally:
        view.close(now, ["the last word"])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "starting" in text and "it broke [/x]" in text and "the last word" in text and "1 trial" in text


def test_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=120)
    view = SweepView(console)
    records = [record(0, 0.25), record(1, 0.5)]
    view.open(board([]))
    view.ended(trial(1), states.COMPLETE, board(records))
    view.ended(trial(0), states.COMPLETE, board(records))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[2/10] trial 1 complete: mAP50-95 0.5000 (the best so far)" in text
    assert "trial 0 complete: mAP50-95 0.2500 (best mAP50-95 0.5000)" in text
    assert not view.due


def test_a_label_tells_trials_apart() -> None:
    assert label(["model=yolox-s", "optimizer.lr=0.0020000001", "runtime.seed=1"]) == "lr=0.002, seed=1"
    assert label(["mm.api_key=abc"]) == "api_key=***"
    assert label([]) == ""
