"""Which run a training job works in: a new one, or the one that an earlier process of the same job has begun."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from trainer.core.errors import ConfigError, NetworkError
from trainer.core.secrets import has_mask
from trainer.core.yaml_io import load_yaml
from trainer.platform.callbacks.sink_state import STORE_VARIABLES
from trainer.platform.jobs import PlatformJob
from trainer.platform.storage.run_archive import forget, restore
from trainer.platform.storage.s3_stores import S3Store
from trainer.runs.run import Run
from trainer.schema import Experiment

TRIES = 3
logger = logging.getLogger("trainer")


def find(job: PlatformJob, exp: Experiment, experiment: str) -> Run:
    """The run to work in; where it ``exists`` it is gone on with.

    A run directory of this job that is still there comes first (a folder that outlives the pod), then what an earlier
    pod has left in the results store. A job that ended well begins anew, and so does one with ``RESUME=false``.
    """
    output = job.work / "runs"
    before = _runs(output, experiment, job.id)
    anew = job.variables.text("RESUME").lower() in ("false", "0", "no")
    if before and not anew and not ended_well(before[-1]):
        return before[-1]
    if not before and not anew and (run := _restored(job, exp, output)):
        return run
    if has_store(job):
        try:
            forget(S3Store(tries=1), job.id)
        except NetworkError as error:
            logger.warning("what an earlier run left for a restart can't be removed: %s", error)
    name = f"job-{job.id}" if not before else f"job-{job.id}-{len(before) + 1}"
    return Run.named(output, experiment, name)


def ended_well(run: Run) -> bool:
    """Whether the run has finished and the backend knows it."""
    return bool(run.facts.get("told"))


def weights_of(run: Run) -> str | None:
    """What a run started from, as ``model.weights`` says it; None where nobody knows."""
    try:
        found = load_yaml(run.dir / "config.yaml")["model"]["weights"]
    except (OSError, ConfigError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and not has_mask(found) else None


def mark_ended(run: Run) -> None:
    """Note that the run has finished and the backend knows."""
    run.update(told=time.time())


def has_store(job: PlatformJob) -> bool:
    """Whether a results store is configured."""
    return any(job.environment.get(name) for name in STORE_VARIABLES)


def _runs(output: Path, experiment: str, job_id: int) -> list[Run]:
    """This job's runs here, oldest first."""
    found: list[Run] = []
    number = 1
    while True:
        run = Run.named(output, experiment, f"job-{job_id}" if number == 1 else f"job-{job_id}-{number}")
        if not run.exists:
            return found
        found.append(run)
        number += 1


def _restored(job: PlatformJob, exp: Experiment, output: Path) -> Run | None:
    if not has_store(job):
        return None
    same = {"model": exp.model.name, "task": exp.task.name, "dataset": exp.dataset.name}
    try:
        return restore(S3Store(tries=TRIES), job.id, output, same)
    except NetworkError as error:
        logger.warning("an earlier run of this job can't be looked for: %s", error)
        return None
