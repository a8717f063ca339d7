"""A sink's process beside a training: ``python -m trainer.tracking <sink> <run dir> <pid> <size of the log>``.

Started by :func:`trainer.tracking.sink_processes`; ``python -m trainer replay`` is what people type.
"""

from __future__ import annotations

import os
import sys

from trainer.core.errors import TrainerError
from trainer.core.secrets import log_to_stderr
from trainer.runs.events.sink import Sink, follow, outlive_signals
from trainer.runs.run import Run


def main(name: str, run_dir: str, pid: str, after: str) -> int:
    """0 when the sink knows all of the run, 1 when it doesn't."""
    log_to_stderr()
    outlive_signals()
    if hasattr(os, "nice"):
        os.nice(10)  # training has the processor first
    try:
        cursor = follow(_sink(name, Run.open(run_dir)), int(pid), int(after))
    except TrainerError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return error.exit_code
    return int(cursor.error is not None)


def _sink(name: str, run: Run) -> Sink:
    if name == "tensorboard":
        from trainer.tracking.tensorboard_sink import TensorboardSink

        return TensorboardSink(run)
    from trainer.tracking.mlflow_sink import MlflowSink

    return MlflowSink(run)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
