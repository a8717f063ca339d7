"""``python -m trainer show ...``: the final MMEngine config of a command line, with what differs from its base."""

from __future__ import annotations

import dataclasses
import sys

from trainer.commands.notes import notes_to_stderr
from trainer.core.secrets import mask_text, masked
from trainer.data.prepare import prepare
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.diff import marked
from trainer.schema import Experiment


def main(exp: Experiment, overrides: list[str]) -> int:
    """Compose, prepare the data, bridge and print; nothing is trained and no run directory is made."""
    bundle = prepare(exp.dataset, exp.task.name)
    built = build_config(exp, bundle)
    notes_to_stderr(built.notes)
    lines = [
        dataclasses.replace(line, text=mask_text(line.text), was=mask_text(line.was))
        for line in marked(masked(built.cfg), built.base)
    ]
    counts = {mark: sum(line.mark == mark for line in lines) for mark in ("changed", "new", "removed")}
    print(f"# base: {exp.model.base}")
    print(
        f"# {', '.join(f'{count} {mark}' for mark, count in counts.items())} (marked at the end of each line)"
    )
    if not sys.stdout.isatty():
        print("\n".join(map(str, lines)))
        return 0
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    styles = {"same": "dim", "changed": "bold yellow", "new": "bold green", "removed": "red"}
    for line in lines:
        console.print(Text(str(line), style=styles[line.mark]))
    return 0
