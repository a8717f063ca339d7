"""What a job was started with, shown once at the start: every variable and setting, and what it became."""

from __future__ import annotations

import sys

from trainer.core.secrets import mask_text
from trainer.platform.jobs import PlatformJob


def show(job: PlatformJob) -> None:
    """Print the table and the notes on stdout, secrets masked."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    table = Table(box=box.SIMPLE_HEAD, title=f"{job.kind} job {job.id}", title_justify="left", pad_edge=False)
    for name in ("from", "value", "becomes"):
        table.add_column(name, overflow="fold")
    for row in job.rows:
        table.add_row(
            Text(row.source), Text(row.value), Text(row.outcome, "dim" if "ignored" in row.outcome else "")
        )
    if not sys.stdout.isatty():
        console.width = 160
    console.print(table)
    for note in job.notes:
        console.print(Text(mask_text(note)))
    sys.stdout.flush()
