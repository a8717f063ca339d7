"""What one can type after a run."""

from __future__ import annotations

from trainer.core.cli_text import program, short
from trainer.runs.run import Run
from trainer.schema import Experiment
from trainer.tracking import compare_command


def next_steps(exp: Experiment, run: Run) -> list[tuple[str, str]]:
    """(what, command) pairs, each of which works as it stands but for the model's name."""
    choice = f"task={exp.task.name} dataset={exp.dataset.name}"
    compare = compare_command(exp.tracking, exp.output_dir)
    return [
        *([("compare runs", compare)] if compare else []),
        ("another model", f"{program()} model=<name> {choice}"),
        ("a sweep", f"{program()} -m model={exp.model.name} {choice} optimizer.lr=0.0005,0.001,0.002"),
        ("predictions", f"{program()} predict checkpoint={short(run.dir)}"),
        ("export", f"{program()} export checkpoint={short(run.dir)}"),
    ]
