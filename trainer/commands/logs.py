"""``python -m trainer logs <handle>``: what a launched job says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trainer.core.errors import ConfigError
from trainer.core.secrets import mask_text
from trainer.launch import launcher_registry
from trainer.launch.job_store import named_job
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class LogsOptions:
    """What a launched job has said, or says until it ends.

    Training's own log, with everything in it, is train.log in the run directory.

        python -m trainer logs local:4711
        python -m trainer logs latest lines=20
        python -m trainer logs latest --follow
    """

    job: list[str] = typed_field([], "the job: its handle, its run's id, or latest", kind="words")
    output_dir: str = typed_field("runs", "the output_dir that it was launched with", kind="path")
    lines: int | None = typed_field(None, "only so many of the newest lines; None: all", ge=1)
    follow: bool = typed_field(False, "go on until the job has ended")


def main(options: LogsOptions) -> int:
    """0; Ctrl-C ends the listening, not the job.

    Raises:
        ConfigError: there is no such job.
        ResourceError: its launcher's engine can't be asked.
    """
    if options.follow and options.lines:
        raise ConfigError("logs: --follow tells everything; leave lines out")
    launched = named_job("logs", options.job, options.output_dir)
    launcher = launcher_registry.launcher_of(launched)
    if options.lines is None:
        for line in launcher.logs(launched, options.follow):
            print(mask_text(line), flush=True)
        return 0
    newest = deque(launcher.logs(launched), maxlen=options.lines)
    print("\n".join(map(mask_text, newest)))
    return 0
