"""``python -m trainer resume <handle>``: start a launched job that has ended once more, on the same run."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.launch import launcher_registry
from trainer.launch.job_store import named_job
from trainer.launch.submit import say_handle
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class ResumeOptions:
    """Start a job that has ended again, through the same launcher: its run goes on from its checkpoint.

    The run directory and MLflow's run stay the same. A run that was never launched, or one that is to go on with other
    words, goes on with `python -m trainer resume=<run> ...`.

        python -m trainer resume slurm:4711
    """

    job: list[str] = typed_field([], "the job: its handle, its run's id, or latest", kind="words")
    output_dir: str = typed_field("runs", "the output_dir that it was launched with", kind="path")


def main(options: ResumeOptions) -> int:
    """0 once it is handed over; prints its handle, a new one mostly.

    Raises:
        ConfigError: there is no such job.
        ResourceError: it hasn't ended, or its launcher's engine refuses.
    """
    launched = named_job("resume", options.job, options.output_dir)
    say_handle(launcher_registry.launcher_of(launched).resume(launched))
    return 0
