"""What a person sees of a sweep: a live table on a terminal, a line an event elsewhere, and a table at the end."""

from __future__ import annotations

import heapq
import logging
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from trainer.core.cli_text import short
from trainer.runs.events import event_text
from trainer.sweep.driver.running_trial import RunningTrial
from trainer.sweep.folder import SweepFolder
from trainer.sweep.report.table import Column, Fitted
from trainer.sweep.report.trial_rows import best, duration, rows, state
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.trial_store import TrialRecord

logger = logging.getLogger("trainer")

REDRAW_SECONDS = 0.5
SHOWN_ENDED = 8  # below the running ones, the latest first
SHOWN_AT_END = 40
SHOWN_ERRORS = 5
_AROUND = 6  # lines of the live table that are no trials: its frame, the summary, the cursor's
_STYLES = {
    states.COMPLETE: "green",
    states.PRUNED: "yellow",
    states.FAIL: "red",
    "infeasible": "magenta",
    "refused": "dim",
    states.RUNNING: "cyan",
}


@dataclass(frozen=True)
class SweepBoard:
    """All that is shown."""

    folder: SweepFolder
    plan: SweepPlan
    records: Sequence[TrialRecord]
    running: Mapping[int, RunningTrial]
    counted: int

    @property
    def leaders(self) -> list[TrialRecord]:
        return best(self.records, self.plan.objectives)

    @property
    def eta(self) -> float | None:
        """Seconds to the last trial's end, at the speed of those that have ended."""
        ended = [one for one in self.records if one.state == states.COMPLETE]
        seconds = [length for one in ended if (length := duration(one)) is not None]
        abroad = sum(one.state == states.RUNNING for one in self.records)
        if not seconds or not abroad:
            return None
        each = statistics.median(seconds)
        spent = sum(min(each, time.time() - trial.started) for trial in self.running.values())
        return max(0.0, (self.plan.n_trials - self.counted) * each - spent) / abroad


class SweepView:
    """Lines, as they are for a file or a pipe; also the sweep's log."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    @property
    def due(self) -> bool:
        """Whether it wants to be shown the board."""
        return False

    def open(self, board: SweepBoard) -> None:
        """The first words."""
        plan, names = board.plan, ", ".join(f"{one.name} ({one.mode})" for one in board.plan.objectives)
        self.say(f"sweep {short(board.folder.dir)}: {plan.n_trials} trials, {plan.sweep.sampler}, {names}")
        before = sum(not one.withdrawn and one.state != states.WAITING for one in board.records)
        if before:
            going = sum(one.state == states.RUNNING for one in board.records)
            self.say(
                f"{board.counted} of them have ended already" + (f", {going} were begun" if going else "")
            )

    def show(self, board: SweepBoard) -> None:
        """Draw the board."""

    def say(self, line: str) -> None:
        """One line."""
        logger.info("%s", line)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def began(self, trial: RunningTrial, board: SweepBoard) -> None:
        gpus = f" on GPU {trial.slot.gpus}" if trial.slot.gpus else ""
        again = " again" if trial.seen.marks else ""
        self.say(f"trial {trial.number} begins{again}{gpus}: {trial.label or 'as typed'}")

    def ended(self, trial: RunningTrial, state: str, board: SweepBoard) -> None:
        record = next(one for one in board.records if one.number == trial.number)
        told = _values(record, board.plan) if record.values else (trial.outcome and trial.outcome.error) or ""
        line = f"[{board.counted}/{board.plan.n_trials}] trial {trial.number} {state}: {told}"
        leaders = board.leaders
        if len(board.plan.objectives) == 1 and leaders and state == states.COMPLETE:
            first = leaders[0]
            line += " (the best so far)" if first is record else f" (best {_values(first, board.plan)})"
        self.say(line)

    def close(self, board: SweepBoard | None, words: Sequence[str] = ()) -> None:
        """The final table, without a board nothing."""
        if board is None:
            return
        self.console.print(final_table(board))
        for line in (*words, f"sweep: {board.folder.dir}"):
            self.say(line)


class LiveView(SweepView):
    """A table that is drawn again twice a second, and lines above it for what should stay."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._live: Live | None = None
        self._drawn = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() - self._drawn > REDRAW_SECONDS

    def open(self, board: SweepBoard) -> None:
        super().open(board)
        # rich would draw from a thread of its own, and forking beside threads is asking for trouble.
        self._live = Live(self._table(board), console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, board: SweepBoard) -> None:
        if self._live is not None:
            self._live.update(self._table(board), refresh=True)
        self._drawn = time.monotonic()

    def _table(self, board: SweepBoard) -> Group:
        return live_table(board, self.console.size.height)

    def began(self, trial: RunningTrial, board: SweepBoard) -> None:
        logger.info("trial %d begins: %s", trial.number, trial.label)

    def ended(self, trial: RunningTrial, state: str, board: SweepBoard) -> None:
        if state in (states.COMPLETE, states.PRUNED):  # in the table
            logger.info("trial %d %s", trial.number, state)
        else:
            super().ended(trial, state, board)

    def close(self, board: SweepBoard | None, words: Sequence[str] = ()) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().close(board, words)


def make_view() -> SweepView:
    """The view that fits where the output goes."""
    console = Console(highlight=False)
    return LiveView(console) if console.is_terminal else SweepView(console)


def live_table(board: SweepBoard, lines: int = 24) -> Group:
    """Running trials, the latest that have ended, and a line about all; no more than ``lines`` if that can be."""
    plan = board.plan
    objectives = [Column(one.name) for one in plan.objectives]
    columns = [Column("#"), Column("state"), Column("searched", words=True), Column("epoch", rank=1)]
    table = Fitted([*columns, *objectives, Column("left", rank=2)], one_line=True)
    room = max(1, lines - _AROUND)
    running = sorted(board.running.items())
    for number, trial in running[:room]:
        seen = trial.seen
        of = f"/{seen.epochs}" if seen.epochs else ""
        reported = (trial.metric, plan.objectives[0].name if not plan.sweep.objectives else None)
        values = [_number(seen.best) if one.name in reported else "" for one in plan.objectives]
        doing = "pruning" if trial.pruning else "stopping" if trial.stopping else "running"
        if not trial.seen.epoch:
            doing = "starting"
        table.add(
            str(number), Text(doing, "cyan"), trial.label, f"{seen.epoch or ''}{of if seen.epoch else ''}",
            *values, event_text.duration(seen.eta) if seen.eta is not None else "",
        )  # fmt: skip
    ended = [one for one in board.records if one.ended and not one.withdrawn]
    latest = heapq.nlargest(
        min(SHOWN_ENDED, max(0, room - len(running))), ended, key=lambda one: one.ended or 0.0
    )
    for record in latest:
        told = state(record)
        table.add(
            str(record.number), Text(told, _STYLES.get(told, "")), record.notes.get("label") or "",
            str(record.notes.get("epochs") or ""), *_cells(record, plan), "",
        )  # fmt: skip
    return Group(table, Text(summary(board)))


def summary(board: SweepBoard) -> str:
    """``12/20, 3 pruned, 1 failed  best mAP50-95 0.41 (trial 7)  4:10 left``"""
    counts = Counter(state(one) for one in board.records if not one.withdrawn)
    parts = [f"{board.counted}/{board.plan.n_trials}"]
    parts += [f"{counts[name]} {name}" for name in (states.PRUNED, states.FAIL, "infeasible") if counts[name]]
    line = ", ".join(parts)
    leaders = board.leaders
    if len(board.plan.objectives) > 1:
        line += f"  {len(leaders)} on the Pareto front"
    elif leaders:
        line += f"  best {_values(leaders[0], board.plan)} (trial {leaders[0].number})"
    abroad = sum(one.state == states.RUNNING and one.number not in board.running for one in board.records)
    if abroad:
        line += f"  {abroad} run elsewhere"
    eta = board.eta
    return line if eta is None else f"{line}  {event_text.duration(eta)} left"


def final_table(board: SweepBoard) -> Group:
    """Every trial, or the best of many; below it why some failed."""
    plan, found = board.plan, rows(board.records, board.plan.objectives)
    title = f"{len(found)} trial{'' if len(found) == 1 else 's'}"
    output = Path(plan.config.output_dir).absolute()
    failed = [row for row in found if row["error"]]
    if len(found) > SHOWN_AT_END:
        found = sorted(found, key=lambda row: _rank(row, plan))[:SHOWN_AT_END]
        title += f", the best {SHOWN_AT_END} of them (all: {board.folder.trials.name})"
    names = [one.name for one in plan.objectives]
    columns = [Column("#"), Column("searched", words=True), Column("state", rank=1), *map(Column, names)]
    columns += [Column("epochs", rank=2), Column("s", rank=3), Column(f"run in {short(output)}", rank=4)]
    table = Fitted(columns, title=title)
    for row in found:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        values = [_number(row["values"].get(name)) for name in names]
        run = _below(row["run_dir"], output) if row["run_dir"] else ""
        table.add(
            f"{row['number']}{' *' if row['best'] else ''}", row["label"] or "",
            Text(row["state"], _STYLES.get(row["state"], "")), *values, str(row["epochs"] or ""), seconds,
            run, style="bold" if row["best"] else "",
        )  # fmt: skip
    errors = [Text(f"trial {row['number']} {row['state']}: {row['error']}") for row in failed[:SHOWN_ERRORS]]
    if len(failed) > SHOWN_ERRORS:
        errors.append(Text(f"{len(failed) - SHOWN_ERRORS} more: {board.folder.trials.name}"))
    return Group(table, *errors)


def _rank(row: dict[str, Any], plan: SweepPlan) -> tuple[bool, bool, float]:
    first = plan.objectives[0]
    value = row["values"].get(first.name)
    if value is None:
        return not row["best"], True, 0.0
    return not row["best"], row["state"] != states.COMPLETE, -value if first.mode == "max" else value


def _values(record: TrialRecord, plan: SweepPlan) -> str:
    pairs = zip(plan.objectives, record.values or (), strict=False)
    return ", ".join(f"{objective.name} {_number(value)}" for objective, value in pairs)


def _cells(record: TrialRecord, plan: SweepPlan) -> list[str]:
    values = record.values or ()
    return [_number(values[place]) if place < len(values) else "" for place in range(len(plan.objectives))]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else event_text.number(value)


def _below(run_dir: str, output: Path) -> str:
    path = Path(run_dir)
    return str(path.relative_to(output) if path.is_relative_to(output) else path)
