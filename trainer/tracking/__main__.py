"""A tracker's process beside a training: ``python -m trainer.tracking <name> <run dir> <pid> <size of the log>``.

Started by :func:`trainer.tracking.start_sink`; people type ``python -m trainer replay``.
"""

from __future__ import annotations

import os
import sys

from trainer.core.errors import TrainerError
from trainer.core.secrets import log_to_stderr
from trainer.runs.events.sink import follow, outlive_signals
from trainer.runs.run import Run
from trainer.tracking.tracker import tracker_class


def main(name: str, run_dir: str, pid: str, after: str) -> int:
    """Follow a run until process ``pid`` has ended; 0 when the tracker has all of it, 1 when it doesn't.

    Args:
        name: the tracker.
        after: the size of the event log when the process began: what stands before is an earlier attempt's.
    """
    log_to_stderr()
    outlive_signals()
    if hasattr(os, "nice"):
        os.nice(10)  # training has the processor first
    try:
        cursor = follow(tracker_class(name)(Run.open(run_dir)), int(pid), int(after))
    except TrainerError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return error.exit_code
    return int(cursor.error is not None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
