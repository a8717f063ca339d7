"""A sweep's state in a terminal and as JSON: what ``python -m trainer sweep status|best`` says."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.core.cli_text import short
from trainer.runs.events import event_text
from trainer.runs.events.reader import events
from trainer.runs.run import Run
from trainer.sweep.driver.outcome import find_run
from trainer.sweep.report.best import BEST, best_row, command
from trainer.sweep.report.results import Row, SweepResults, text
from trainer.sweep.report.table import Column, Fitted
from trainer.sweep.stores.trial_store import COMPLETE, RUNNING

STATES = ("complete", "pruned", "infeasible", "failed", "running", "waiting", "refused")
SHOWN_FRONT = 20


def status(results: SweepResults) -> dict[str, Any]:
    """Where a sweep is, as JSON.

    ``trials`` counts by state, ``running`` has epoch, epochs and seconds left of each running trial, ``best`` is as
    :func:`best` says, ``seconds_left`` an estimate from the median trial.
    """
    counts = Counter(row["state"] for row in results.rows)
    return {
        "sweep": results.folder.id,
        "folder": str(results.folder.dir),
        "counted": results.counted,
        "n_trials": results.n_trials,
        "over": results.over,
        "trials": {state: counts[state] for state in STATES if counts[state]},
        "running": [_progress(results, row) for row in results.rows if row["state"] == RUNNING],
        "best": best(results),
        "seconds_left": seconds_left(results),
        "note": results.note,
    }


def best(results: SweepResults) -> list[dict[str, Any]]:
    """The best trial, or those of the Pareto front with ``knee`` at the one of ``best.yaml``: number, values,
    searched values, figures, run directory, checkpoint."""
    chosen = best_row(results)
    return [
        {
            "number": row["number"],
            "values": row["values"],
            "params": results.searched(row),
            "figures": row["figures"],
            "run_dir": row["run_dir"],
            "checkpoint": _checkpoint(row),
            **({"knee": row is chosen} if len(results.objectives) > 1 else {}),
        }
        for row in results.best
    ]


def seconds_left(results: SweepResults) -> float | None:
    """Until the last trial ends, as fast as those that have ended; None while that can't be told."""
    ended = [row["seconds"] for row in results.rows if row["state"] == COMPLETE and row["seconds"]]
    running = sum(row["state"] == RUNNING for row in results.rows)
    if not ended or not running:
        return None
    return round(max(0, results.n_trials - results.counted) * statistics.median(ended) / running, 1)


def print_status(results: SweepResults, console: Console | None = None) -> None:
    """Where a sweep is, for people."""
    console = console or Console(highlight=False)
    said = status(results)
    counts = ", ".join(f"{count} {state}" for state, count in said["trials"].items()) or "none begun"
    objectives = ", ".join(f"{one.name} ({one.mode})" for one in results.objectives)
    table = _pairs()
    rows = {
        "sweep": short(results.folder.dir),
        "improves": objectives,
        "by": f"{results.about.get('sampler')}, pruner {results.about.get('pruner')}",
        "trials": f"{results.counted} of {results.n_trials} ({counts})",
    }
    if said["seconds_left"] is not None:
        rows["left"] = f"about {event_text.duration(said['seconds_left'])}"
    chosen = best_row(results)
    if chosen is not None:
        which = "best" if len(results.objectives) == 1 else f"knee of {len(results.best)}"
        rows[which] = f"{_values(chosen)} (trial {chosen['number']}: {chosen['label'] or 'as typed'})"
    for name, words in rows.items():
        table.add_row(Text(name, "dim"), Text(words))
    console.print(table)
    if said["running"]:
        console.print(_running(results, said["running"]))
    _print_failures(results, console)
    _print_note(results, console)


def print_best(results: SweepResults, console: Console | None = None) -> None:
    """The best trial, or the Pareto front, for people."""
    console = console or Console(highlight=False)
    chosen = best_row(results)
    if chosen is None:
        console.print("no trial is complete yet")
        _print_note(results, console)
        return
    if len(results.objectives) > 1:
        console.print(_front(results, chosen))
    table = _pairs()
    rows = {"trial": f"{chosen['number']} of {results.folder.id}", "value": _values(chosen)}
    rows |= {key: text(value) for key, value in results.searched(chosen).items()}
    rows |= {"run": short(Path(chosen["run_dir"]))} if chosen["run_dir"] else {}
    checkpoint = _checkpoint(chosen)
    rows |= {"checkpoint": short(Path(checkpoint))} if checkpoint else {}
    for name, words in rows.items():
        table.add_row(Text(name, "dim"), Text(words))
    console.print(table)
    if results.has_recipe:
        console.print("again:", command(results, results.folder.dir / BEST), soft_wrap=True, markup=False)
    _print_note(results, console)


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _running(results: SweepResults, running: list[dict[str, Any]]) -> Fitted:
    columns = [Column("trial"), Column("searched", words=True), Column("epoch", rank=1)]
    table = Fitted([*columns, Column(results.objectives[0].name), Column("left", rank=2)])
    for one in running:
        of = f"/{one['epochs']}" if one["epochs"] else ""
        table.add(
            str(one["number"]), one["label"] or "", f"{one['epoch']}{of}",
            "" if one["value"] is None else event_text.number(one["value"]),
            "" if one["seconds_left"] is None else event_text.duration(one["seconds_left"]),
        )  # fmt: skip
    return table


def _front(results: SweepResults, chosen: Row) -> Fitted:
    front = results.best
    names = [Column(f"{one.name} ({one.mode})") for one in results.objectives]
    title = f"{len(front)} trial{'' if len(front) == 1 else 's'} on the Pareto front"
    table = Fitted([Column("#"), Column("searched", words=True), *names], title=title)
    for row in front[:SHOWN_FRONT]:
        values = [_shown(row["values"][one.name]) for one in results.objectives]
        mark = " knee" if row is chosen else ""
        table.add(f"{row['number']}{mark}", row["label"] or "", *values, style="bold" if mark else "")
    return table


def _print_failures(results: SweepResults, console: Console) -> None:
    for row in results.rows:
        if row["state"] == "failed" and row["error"]:
            console.print(f"trial {row['number']} failed: {row['error']}", soft_wrap=True, markup=False)


def _print_note(results: SweepResults, console: Console) -> None:
    if results.note:
        console.print(Text(results.note, "yellow"), soft_wrap=True)


def _progress(results: SweepResults, row: Row) -> dict[str, Any]:
    """How far a running trial is, by its event log."""
    run = _run(results, row)
    epoch, epochs, left, value = 0, None, None, None
    for event in events(run.events) if run else ():
        if event["type"] == "run_started":
            epochs = event.get("epochs") or epochs
        elif event["type"] in ("train", "validation", "epoch"):
            epoch, left = int(event.get("epoch") or epoch), event.get("eta", left)
        if event["type"] == "validation":
            value = (event.get("metrics") or {}).get(results.objectives[0].name, value)
    return {
        "number": row["number"],
        "label": row["label"],
        "epoch": epoch,
        "epochs": epochs,
        "value": value,
        "seconds_left": left,
        "run_dir": str(run.dir) if run else None,
        "driver": row["driver"],
    }


def _run(results: SweepResults, row: Row) -> Run | None:
    if row["run_dir"] or not row["run_id"]:
        return Run.open(row["run_dir"]) if row["run_dir"] and Path(row["run_dir"]).is_dir() else None
    return find_run(Path(results.about["output_dir"]), row["run_id"])


def _checkpoint(row: Row) -> str | None:
    for name in ("best.pth", "last.pth"):
        path = Path(row["run_dir"] or "", "checkpoints", name)
        if row["run_dir"] and path.is_file():
            return str(path)
    return None


def _values(row: Row) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in row["values"].items())


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e5 else event_text.number(value)
