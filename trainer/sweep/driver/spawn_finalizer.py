"""The process that a driver leaves behind when a sweep ends: it writes what stays of it and tells MLflow."""

from __future__ import annotations

import logging
import sys
import time

from trainer.core.cli_text import program, short
from trainer.core.processes import start_in_background
from trainer.sweep.folder import SweepFolder
from trainer.sweep.space import SweepPlan

logger = logging.getLogger("trainer")

WAIT_SECONDS = 20.0


def spawn_finalizer(plan: SweepPlan, folder: SweepFolder, wait: bool = True) -> None:
    """Start it, and wait a little so that plots are there when the command ends; it goes on by itself.

    Args:
        wait: False where somebody wants the end at once.
    """
    from trainer.runs.tracking_uri import tracking_uri
    from trainer.tracking.sink_processes import environment

    tracked = plan.config.tracking.name != "none"
    uri = tracking_uri(plan.config.tracking, plan.config.output_dir) if tracked else None
    command = [
        sys.executable,
        "-m",
        "trainer.sweep.driver.finalize",
        str(folder.dir),
        *(["--upload"] if tracked else []),
    ]
    try:
        log = folder.dir / "finish.log"
        log.unlink(missing_ok=True)
        variables = {**environment(uri), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        process = start_in_background(command, log=log, environment=variables)
    except OSError as error:
        logger.warning("%s can't be started (%s)", command[2], error)
        return
    until = time.monotonic() + (WAIT_SECONDS if wait else 0.0)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    later = f"{program()} sweep plot {short(folder.dir)}{' --upload' if tracked else ''}"
    if process.poll():
        print(
            f"not all plots and records of the sweep could be made ({folder.dir / 'finish.log'}); later: {later}"
        )
    elif process.poll() is None and wait:
        print(f"plots and MLflow's record of the sweep are still being made; if that is cut off: {later}")
