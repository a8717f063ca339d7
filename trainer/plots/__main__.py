"""``python -m trainer.plots <run>``: draw all plots of a run directory, finished or not."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from trainer.core.cli_text import short
from trainer.core.errors import TrainerError
from trainer.core.secrets import log_to_stderr


def main(argv: list[str] | None = None) -> int:
    """0 when the plots are drawn, 2 when that is no run directory."""
    parser = argparse.ArgumentParser(prog="python -m trainer.plots", description=__doc__)
    parser.add_argument("run_dir", help="the run directory, e.g. runs/latest")
    parser.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    log_to_stderr()
    try:
        if options.follow:
            from trainer.plots.draw_process import follow_run

            if hasattr(os, "nice"):
                os.nice(19)  # training comes first
            follow_run(Path(options.run_dir), sys.stdin)
            return 0
        from trainer.plots.run_plots import RunPlots

        drawing = RunPlots(options.run_dir)
        written = [*drawing.draw_data(), *drawing.draw_sheets(), *drawing.draw()]
    except TrainerError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return error.exit_code
    for path in written:
        print(f"wrote {short(path)}")
    if not written:
        print("nothing to draw yet: no losses and no validation in the event log", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
