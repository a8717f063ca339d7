"""Telling the backend of a job that failed before its run could."""

from __future__ import annotations

import importlib
import logging
import tempfile
from pathlib import Path

from trainer.core.errors import TrainerError
from trainer.core.secrets import mask_text, mask_urls
from trainer.platform.callbacks.delivery import Delivery, Retry
from trainer.platform.callbacks.payloads import Payload
from trainer.platform.job_environment import work_root
from trainer.platform.settings.environment_variables import Variables, as_number

SECONDS = 60.0
logger = logging.getLogger("trainer")


def failure(variables: Variables, job_id: int, url: str, error: TrainerError, trace: str | None) -> bool:
    """Send the completion of a job that failed before its run could tell it; see :func:`send`."""
    module = importlib.import_module(f"trainer.platform.jobs.{variables.kind}_job")
    return send(
        variables, job_id, url, module.failure(variables, job_id, error, mask_text(trace) if trace else None)
    )


def send(variables: Variables, job_id: int, url: str, body: Payload) -> bool:
    """Send one body that nothing else depends on; False, with a word in the log, when the backend can't be told.

    Raises nothing: a backend that is away must not hide what went wrong.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="trainer-callback-") as folder:
            delivery = Delivery(folder, url, retry(variables))
            try:
                delivery.tell("only", "completion", job_id, body)
                delivery.flush(SECONDS)
                why = delivery.outbox.why("only") or delivery.trouble
            finally:
                delivery.close()
    except (TrainerError, OSError) as problem:
        why = str(problem)
    if why != "delivered":
        logger.error("the backend at %s doesn't know how the job ended: %s", mask_urls(url), why)
    return why == "delivered"


def retry(variables: Variables) -> Retry:
    """How callbacks are tried again, by CALLBACK_MAX_RETRIES and CALLBACK_RETRY_DELAY; other values than numbers
    leave the usual ones."""
    usual = Retry()
    times, delay = (
        as_number(variables.text(name)) for name in ("CALLBACK_MAX_RETRIES", "CALLBACK_RETRY_DELAY")
    )
    return Retry(
        int(times) if times is not None and times >= 0 else usual.max_retries,
        delay if delay is not None and delay >= 0 else usual.delay,
    )


def folder_of(variables: Variables, job_id: int) -> Path:
    """A job's own folder: ``/tmp/training/42``."""
    names = {"train": "training", "predict": "inference", "evaluate": "evaluation", "export": "export"}
    return work_root(variables.environment) / names[variables.kind] / str(job_id)
