"""Tables at widths that people have."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tests.sweep.test_live_view import MAP, SIZE, board, record, trial
from trainer.sweep.report.live_view import final_table, live_table
from trainer.sweep.stores import trial_store as states

LABEL = "optimizer=adamw, lr=0.005556, scheduler=constant, hsv=false"
WIDTHS = (60, 80, 120, 200)


def printed(what: Any, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text: str) -> list[list[str]]:
    """A table's rows, without what frames them."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_are_whole_and_words_are_folded_between_words(width: int) -> None:
    records = [record(n, 0.25, 4_000_000.0 + n, label=LABEL, epochs=6) for n in range(3)]
    text = printed(final_table(board(records, MAP, SIZE)), width)
    assert max(map(len, text.splitlines())) <= width
    first = [row for row in cells(text) if row[0]]
    assert [row[0] for row in first] == ["0 *", "1", "2"]
    for n, row in enumerate(first):
        assert "0.2500" in row and f"{4_000_000 + n:,}" in row
    searched = " ".join(row[1] for row in cells(text))
    assert searched.count(LABEL) == 3


def test_what_matters_least_is_left_out_where_there_is_no_room() -> None:
    records = [record(0, 0.25, label=LABEL, epochs=6, run_dir="runs/digits/x-0")]
    heads = {width: printed(final_table(board(records)), width).splitlines()[2] for width in WIDTHS}
    assert "state" in heads[60] and "epochs" not in heads[60] and "run in" not in heads[60]
    assert "epochs" in heads[80] and "run in" not in heads[80]
    assert "run in" in heads[120] and "run in" in heads[200]


def test_why_trials_failed_is_below_the_table_as_it_was_said() -> None:
    records = [record(n, state=states.FAIL, error=f"it broke [/x] {n}", label="x=[/b]") for n in range(7)]
    text = printed(final_table(board(records)), 80)
    assert "trial 4 failed: it broke [/x] 4" in text and "it broke [/x] 5" not in text
    assert "2 more: trials.jsonl" in text and "x=[/b]" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_live_table_has_a_line_a_trial(width: int) -> None:
    going = trial(9)
    going.label, going.seen.epoch, going.seen.epochs, going.seen.best = LABEL, 3, 12, 0.125
    records = [record(n, 0.25, label=LABEL, epochs=6) for n in range(8)]
    text = printed(live_table(board(records, running={9: going})), width)
    assert max(map(len, text.splitlines())) <= width
    rows = cells(text)
    assert [row[0] for row in rows] == ["9", *map(str, range(8))]
    assert all("0.2500" in row for row in rows[1:]) and "0.1250" in rows[0]
    assert ("3/12" in rows[0]) == (width > 60)


def test_a_live_table_is_no_higher_than_the_terminal() -> None:
    records = [record(n, 0.25) for n in range(8)]
    running = {n: trial(n) for n in range(10, 40)}
    text = printed(live_table(board(records, running=running), 20), 80)
    assert len(text.splitlines()) < 20 and text.splitlines()[-1].startswith("8/10")
