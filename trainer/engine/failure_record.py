"""The end of a run that failed before its log could say so: what follows the log would wait for it."""

from __future__ import annotations

from trainer.core.errors import FrameworkError, TrainerError, missing_package
from trainer.runs.events.log import EventLog
from trainer.runs.events.reader import read
from trainer.runs.events.schema import LAST_WORDS
from trainer.runs.result import build_result
from trainer.runs.run import Run
from trainer.schema import Experiment


def event_log_size(run: Run) -> int:
    """Bytes of the event log, which an attempt is about to go on with."""
    return run.events.stat().st_size if run.events.exists() else 0


def has_failure_record(run: Run, after: int) -> bool:
    """Whether the log says, behind byte ``after``, how the training ended."""
    return any(event["type"] in LAST_WORDS for event, _ in read(run.events, after))


def write_failure_record(run: Run, exp: Experiment, error: Exception, after: int) -> bool:
    """Write the ``failed`` event and ``result.json`` of a training that raised ``error``, unless it has done so;
    whether it was needed.

    Args:
        after: the size of the event log when the attempt began.
    """
    if has_failure_record(run, after):
        return False
    known = _known(error)
    told = {"type": known.kind, "message": known.message}
    result = build_result(
        run,
        status="failed",
        task=exp.task.name,
        model=exp.model.name,
        dataset=exp.dataset.name,
        metric=exp.task.primary_metric,
        mode=exp.task.mode,
        error=told,
    )
    run.write_result(result)
    with EventLog(run.events) as log:
        log.emit("failed", error=told, result=dict(result))
    run.end_attempt("failed")
    return True


def _known(error: Exception) -> TrainerError:
    """Without :mod:`trainer.engine.failures`, which imports what may just have failed to be imported."""
    if isinstance(error, TrainerError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    return FrameworkError(f"{type(error).__name__}: {error}")
