"""``-m`` for commands that don't train: every combination, one after the other, on this terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from trainer.sweep.driver.trial_start import PROGRAM, label
from trainer.sweep.space import SweepPlan


def run_sequentially(plan: SweepPlan, dirs: Sequence[str] = (), program: Sequence[str] | None = None) -> int:
    """Run a command with every combination of the values, each in a process of its own.

    Returns:
        0 when each succeeded, else 1; 130 after Ctrl-C.
    """
    flags = [word for path in dirs for word in ("--config-dir", path)]
    points = list(plan.space.grid())
    ends: list[tuple[str, int, float]] = []
    stopped = False
    for number, point in enumerate(points, 1):
        name = label(plan.space.varied(point)) or "as typed"
        print(f"[{number}/{len(points)}] {name}", flush=True)
        start = time.monotonic()
        words = [*(program or PROGRAM), plan.command, *flags, *plan.space.words(point)]
        code, stopped = _wait(subprocess.Popen(words, env=dict(os.environ)))
        ends.append((name, code, time.monotonic() - start))
        failures = sum(code != 0 for _, code, _ in ends)
        if stopped:
            break
        limit = getattr(plan.sweep, "max_failures", len(points))
        if failures >= limit and number < len(points):
            print(
                f"{failures} failed (sweep.max_failures={limit}); the others are not started.",
                file=sys.stderr,
            )
            break
    table = Table(title=f"{plan.command}: {len(points)} jobs", title_justify="left")
    for column in ("#", "varied", "ended with", "s"):
        table.add_column(column, overflow="fold")
    for number, point in enumerate(points, 1):
        if number <= len(ends):
            name, code, seconds = ends[number - 1]
            table.add_row(
                str(number), name, "success" if code == 0 else f"exit code {code}", f"{seconds:.0f}"
            )
        else:
            table.add_row(str(number), label(plan.space.varied(point)), "not started", "")
    Console(highlight=False).print(table)
    return 130 if stopped else int(any(code != 0 for _, code, _ in ends) or len(ends) < len(points))


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, bool]:
    """Its exit code, and whether Ctrl-C came meanwhile; that reaches the job too, and its end is waited for."""
    interrupted = False
    while True:
        try:
            return process.wait(), interrupted
        except KeyboardInterrupt:
            interrupted = True
