"""``python -m trainer cancel <handle>``: have a launched job save and end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from trainer.core.cli_text import program
from trainer.launch import launcher_registry
from trainer.launch.job_store import named_job
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class CancelOptions:
    """Have a launched job save what it has trained, and end; resume goes on with it.

    python -m trainer cancel slurm:4711
    python -m trainer cancel latest --wait
    """

    job: list[str] = typed_field([], "the job: its handle, its run's id, or latest", kind="words")
    output_dir: str = typed_field("runs", "the output_dir that it was launched with", kind="path")
    now: bool = typed_field(False, "end it at once, without saving")
    wait: bool = typed_field(False, "return only when it has ended")


def main(options: CancelOptions) -> int:
    """0 once the job is told to end, or had ended already.

    Raises:
        ConfigError: there is no such job.
        ResourceError: its launcher's engine can't be asked.
    """
    launched = named_job("cancel", options.job, options.output_dir)
    launcher = launcher_registry.launcher_of(launched)
    status = launcher.status(launched)
    if status.ended:
        print(f"{launched.handle} has ended already: {status.state}")
        return 0
    launcher.cancel(launched, now=options.now)
    while options.wait and not (status := launcher.status(launched)).ended:
        time.sleep(launcher.poll)
    if options.wait:
        print(f"{launched.handle} is {status.state}")
    else:
        print(f"{launched.handle} is told to {'end' if options.now else 'save and end'}")
    print(f"going on: {program()} resume {launched.handle}")
    return 0
