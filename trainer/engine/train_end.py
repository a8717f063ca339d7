"""How a training ends: why it stopped or failed, the last event, ``result.json``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer.core.errors import TrainerError
from trainer.core.secrets import mask_text
from trainer.engine.distributed.ranks import RankEnd
from trainer.engine.failures import as_trainer_error, is_consequence, is_worker_death, traceback_of
from trainer.engine.session import Session
from trainer.engine.stop_signals import Stopped
from trainer.runs.result import Result, build_result

if TYPE_CHECKING:
    from trainer.schema import Experiment

# How long to wait for another process to say why its connection has ended, or to be seen to have exited.
HEAR_SECONDS = 3.0
Reason = tuple[Stopped | None, TrainerError | None]  # one of the two


def out_of_time_message(exp: Experiment, resume: str) -> str:
    """The warning of an attempt that ``runtime.max_minutes`` has ended; ``resume`` is the command to continue."""
    return f"runtime.max_minutes={exp.runtime.max_minutes:g} are over: saved; resume with {resume}"


def reason_of_stop(stop: BaseException, session: Session) -> Reason:
    """Why a signal came: somebody sent it, or another process of the training failed.

    Args:
        stop: :class:`Stopped`, or a KeyboardInterrupt.
    """
    stopped = stop if isinstance(stop, Stopped) else Stopped(2, None)
    end = None if stopped.saved else session.ranks.other_end()
    if end is not None and end.error is not None:
        return None, end.error
    session.ranks.stopped(stopped.signum)
    return stopped, None


def reason_of_failure(failure: Exception, session: Session) -> Reason:
    """What an exception comes from: a signal, another process, or itself. Its traceback goes to ``train.log``."""
    file, ranks, signals = session.file, session.ranks, session.signals
    file.write("training ended with an exception", logging.ERROR, failure)
    end = ranks.other_end(HEAR_SECONDS) if is_consequence(failure) else None
    if end is not None:
        if end.trace:
            file.write(f"process {end.rank}: {end.trace}", logging.ERROR)
        return (None, end.error) if end.error is not None else (Stopped(end.signum or 15, None), None)
    # A signal to all processes may end the data loader's workers before the training process receives it.
    received = signals.wait(HEAR_SECONDS) if is_worker_death(failure) else signals.received
    if received is not None:
        return Stopped(received, None), None
    error = as_trainer_error(failure)
    ranks.failed(error, traceback_of(error))
    return None, error


def give_up(session: Session, end: RankEnd) -> None:
    """End a training whose main thread waits for a process that has exited. Runs on another thread; exits."""
    if not session.end_lock.acquire(blocking=False):
        return
    session.signals.ending()
    stopped = Stopped(end.signum or 15, None) if end.error is None else None
    exit_code = write_end(session, stopped, end.error).exit_code
    session.ranks.done()
    if end.error is not None:
        exit_code = end.error.exit_code
        print(f"{end.error.kind}: {mask_text(end.error.message)}", file=sys.stderr, flush=True)
    os._exit(exit_code)


def write_end(session: Session, stopped: Stopped | None, error: TrainerError | None) -> Result:
    """Write the last event, ``result.json`` and the end of the attempt in ``run.json``.

    Args:
        stopped: the signal that stopped the training.
        error: why it failed. With neither, it finished.
    """
    run, exp, log = session.run, session.exp, session.log
    pruned = stopped is not None and stopped.pruned
    status = "failed" if error else "pruned" if pruned else "cancelled" if stopped else "finished"
    error_facts = {"type": error.kind, "message": error.message} if error else None
    log.flush()
    result = build_result(
        run,
        status=status,
        task=exp.task.name,
        model=exp.model.name,
        dataset=exp.dataset.name,
        metric=exp.task.primary_metric,
        mode=exp.task.mode,
        error=error_facts,
    )
    with _disk_may_be_full("result.json"):
        run.write_result(result)  # before the last event, on which the sinks end
    if error is not None:
        log.emit("failed", error=error_facts, traceback=traceback_of(error), result=dict(result))
    elif stopped is not None:
        saved = stopped.saved or result["checkpoints"]["last"]
        if pruned:
            log.emit("pruned", saved=saved, result=dict(result))
        else:
            result.exit_code = 128 + stopped.signum
            log.emit("cancelled", signal=str(stopped), saved=saved, result=dict(result))
    else:
        log.emit("finished", result=dict(result))
    with _disk_may_be_full("run.json"):
        run.end_attempt(status)
    log.close()
    return result


@contextmanager
def _disk_may_be_full(name: str) -> Iterator[None]:
    """Log that a file couldn't be written, and continue: the terminal and the exit code still give the reason."""
    try:
        yield
    except OSError as error:
        logging.getLogger("trainer").error("%s couldn't be written: %s", name, error)
