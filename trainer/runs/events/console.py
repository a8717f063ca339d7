"""What a person sees of a run: a progress bar on a terminal, a line an interval elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from trainer.runs.events.event_text import duration, event_text, headline, number
from trainer.runs.events.reader import Event

REDRAW_SECONDS = 0.5


class ConsoleView:
    """Shows events as they come; called on the event log's thread only.

    Args:
        console: where to write; a terminal gets the bar.
        run_dir: the run directory, named in the first and the last words.
        next_steps: (what, command) pairs printed under the final table.
        resume_command: printed when the run was cancelled after saving.
    """

    def __init__(
        self,
        console: Console | None = None,
        run_dir: str = "",
        next_steps: list[tuple[str, str]] | None = None,
        resume_command: str = "",
    ) -> None:
        self.console = console or Console(highlight=False)
        self.run_dir = run_dir
        self.next_steps = next_steps or []
        self.resume_command = resume_command
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._epochs: int | None = None
        self._primary: str | None = None
        self._drawn = 0.0
        self._handlers: dict[str, Callable[[Event], None]] = {
            "run_started": self._started,
            "train": self._train,
            "validation": self._validation,
            "finished": self._finished,
            "failed": self._failed,
            "pruned": self._pruned,
            "cancelled": self._cancelled,
        }

    def __call__(self, event: Event) -> None:
        self._handlers.get(event["type"], self._other)(event)

    def open(self) -> None:
        """Say at once where the run's files go: the first event is seconds away."""
        self._say(f"run directory {self.run_dir}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _started(self, event: Event) -> None:
        self._primary = (event.get("primary_metric") or {}).get("name")
        self._epochs = event.get("epochs")
        self._say(event_text(event))
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.fields[epoch]}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:.0f}/{task.total:.0f} it"),
                TextColumn("{task.fields[loss]}"),
                TextColumn("[green]{task.fields[metric]}"),
                TextColumn("[cyan]eta {task.fields[eta]}"),
                console=self.console,
                expand=True,
                redirect_stdout=False,  # stdout goes to the log file meanwhile
                # rich would draw ten times a second from a thread, for which the training thread waits.
                auto_refresh=False,
            )
            total = event.get("iterations") or 1
            self._task = self._bar.add_task(
                "train", total=total, epoch="starting", loss="", metric="", eta="?"
            )
            self._bar.start()

    def _train(self, event: Event) -> None:
        if self._bar is None:
            self._say(event_text(event))
            return
        of = f"/{self._epochs}" if self._epochs else ""
        self._bar.update(
            self._task,
            completed=event["iter"],
            epoch=f"epoch {event['epoch']}{of}",
            loss=f"loss {number(event['losses'].get('loss'))}",
            eta=duration(event.get("eta")),
        )
        if time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._redraw()

    def _validation(self, event: Event) -> None:
        if self._bar is None:
            self._say(event_text(event))
            return
        value = event["metrics"].get(self._primary)
        shown = f"{self._primary} {number(value)}" if value is not None else headline(event["metrics"])
        self._bar.update(self._task, completed=event["iter"], metric=shown)
        self._redraw()

    def _other(self, event: Event) -> None:
        if event["type"] == "checkpoint" and self._bar is not None:
            return  # the bar shows the metric already
        self._say(event_text(event))

    def _finished(self, event: Event) -> None:
        self.close()
        self.console.print(_summary(event["result"], self.run_dir))
        for what, command in self.next_steps:
            self.console.print(f"  [dim]{what:<22}[/dim] {command}", soft_wrap=True)

    def _failed(self, event: Event) -> None:
        # The message itself is printed by the command line, once, for every kind of error.
        self.close()

    def _pruned(self, event: Event) -> None:
        self.close()
        self._say(event_text(event))

    def _cancelled(self, event: Event) -> None:
        self.close()
        saved = event.get("saved")
        self._say(f"stopped by {event['signal']}" + (f"; saved {saved}" if saved else "; nothing was saved"))
        if saved and self.resume_command:
            self._say(f"resume with: {self.resume_command}")

    def _redraw(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._drawn = time.monotonic()

    def _say(self, line: str | None) -> None:
        if line:
            self.console.print(line, markup=False, soft_wrap=True)


def _summary(result: dict[str, Any], run_dir: str) -> Table:
    primary = result["primary_metric"]
    at = f" (epoch {primary['epoch']})" if primary.get("epoch") is not None else ""
    rows = [
        ("task", result["task"]),
        ("model", result["model"]),
        ("data set", result["dataset"]),
        (primary["name"], "not validated" if primary["value"] is None else number(primary["value"]) + at),
        *[(name, number(value)) for name, value in _companions(result)],
        ("epochs", str(result["epochs_completed"])),
        ("time", duration(result["duration_seconds"])),
        ("run directory", run_dir or result["run_id"]),
    ]
    table = Table(show_header=False, title="finished", title_justify="left")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _companions(result: dict[str, Any]) -> list[tuple[str, float]]:
    flat = {name: value for name, value in result["metrics"].items() if isinstance(value, (int, float))}
    return [(name, value) for name, value in flat.items() if name != result["primary_metric"]["name"]][:3]
