"""What stays of a sweep: its best trial as a recipe, its plots, and all of it in MLflow.

``python -m trainer.sweep.driver.finalize <folder> [--upload]`` is the process that a driver leaves behind; ``sweep
plot`` does
the same for people. Done again, it brings everything up to date.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainer.core.errors import TrainerError
from trainer.core.locks import LockHeld, locked
from trainer.sweep.folder import SweepFolder
from trainer.sweep.report.best import write_best
from trainer.sweep.report.results import SweepResults, read_results

logger = logging.getLogger("trainer")

PLOTS, PAGE = "plots", "sweep.html"
LOCK_SECONDS = 300.0


@dataclass
class FinalizedSweep:
    """``files`` that were written; ``told``: where MLflow's run of the sweep is; ``error``: why it isn't told all."""

    files: list[Path] = field(default_factory=list)
    told: str | None = None
    error: str | None = None


def finalize_sweep(results: SweepResults, upload: bool, uri: str | None = None) -> FinalizedSweep:
    """Write ``best.yaml``, ``plots/*.png`` and ``sweep.html`` into the sweep's folder.

    Args:
        upload: tell MLflow too.
        uri: another MLflow than the trials'.
    """
    done = FinalizedSweep()
    try:
        with locked(results.folder.dir / ".finishing", LOCK_SECONDS):
            done.files = [*write_best(results), *draw(results)]
            if upload:
                from trainer.sweep.report.mlflow_log import log_sweep

                done.told, done.error = log_sweep(results, done.files, uri)
    except LockHeld as other:
        done.error = f"{other} is writing the same"
    return done


def draw(results: SweepResults) -> list[Path]:
    """Draw all that there is something to draw of; the files."""
    from trainer.sweep.report import progress_plots, space_plots

    folder, written = results.folder.dir / PLOTS, list[Path]()
    wanted: dict[str, Callable[[SweepResults, Path], bool]] = {
        "history": progress_plots.draw_history,
        "curves": progress_plots.draw_curves,
        "importance": progress_plots.draw_importance,
        "slices": space_plots.draw_slices,
        "parallel": space_plots.draw_parallel,
        "pareto": space_plots.draw_pareto,
    }
    for name, make in wanted.items():
        _one(folder / f"{name}.png", make, results, written)
    _one(results.folder.dir / PAGE, _page, results, written)
    return written


def main(folder: str, upload: str | None = None) -> int:
    """0 when everything is written and MLflow knows it."""
    if hasattr(os, "nice"):
        os.nice(10)
    from trainer.core.secrets import learn_environment, log_to_stderr

    learn_environment()
    log_to_stderr()
    try:
        done = finalize_sweep(read_results(SweepFolder(Path(folder).absolute())), upload=upload is not None)
    except TrainerError as error:
        logger.error("%s: %s", error.kind, error.message)
        return error.exit_code
    for path in done.files:
        print(path)
    if done.error:
        logger.error("%s", done.error)
    return int(done.error is not None)


def _page(results: SweepResults, path: Path) -> bool:
    from trainer.sweep.report.html_report import write_html_report

    return write_html_report(results, path)


def _one(
    path: Path, make: Callable[[SweepResults, Path], bool], results: SweepResults, written: list[Path]
) -> None:
    try:
        if make(results, path):
            written.append(path)
    except ImportError as error:
        logger.warning("%s isn't drawn: %s", path.name, error)
    except Exception:  # one plot must not cost the others
        logger.exception("%s can't be drawn", path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
