"""``python -m trainer.tracking <run dir>``: tell MLflow what it doesn't know yet about a run."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from trainer.errors import TrainerError
from trainer.tracking.sink import follow, sync


def main(argv: list[str] | None = None) -> int:
    """0 when MLflow knows all of the run, 1 when it doesn't, 2 for a mistake on the command line."""
    parser = argparse.ArgumentParser(prog="python -m trainer.tracking", description=__doc__)
    parser.add_argument("run_dir", help="the run directory, e.g. runs/latest")
    parser.add_argument("--uri", help="another MLflow than the run was tracked on")
    parser.add_argument("--follow", type=int, metavar="PID", help=argparse.SUPPRESS)
    parser.add_argument("--after", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        if options.follow:
            _step_back()
            state = follow(options.run_dir, options.follow, options.after)
        else:
            state = sync(options.run_dir, options.uri)
    except TrainerError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return error.exit_code
    if state.error:
        print(f"MLflow at {state.uri} doesn't have all of this run: {state.error}", file=sys.stderr)
        return 1
    print(f"MLflow at {state.uri} knows all of run {state.mlflow_run_id} in experiment {state.experiment}")
    return 0


def _step_back() -> None:
    """Let training have the processor first."""
    if hasattr(os, "nice"):
        os.nice(10)


if __name__ == "__main__":
    sys.exit(main())
