"""The part of every process of a training but the first: train, write nothing, and say to the first why it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from trainer.core.errors import ResourceError, TrainerError
from trainer.core.secrets import mask_text
from trainer.engine.distributed.rank_watchdog import RankWatchdog
from trainer.engine.distributed.ranks import FirstRankFailed, RankEnd
from trainer.engine.failure_record import write_failure_record
from trainer.runs.result import Result

HEAR_SECONDS = 3.0  # as the first process waits to hear why a connection has ended


def train_nonzero_rank(session: Any, train: Callable[[Any], None], size: int) -> Result:
    """Train with the others.

    The first process tells people how a training ends. Where it was killed, one of the others says so in its place.

    Args:
        session: what ``train`` takes.
        size: bytes of the event log when the attempt began.

    Returns:
        Nothing but the exit code.

    Raises:
        ResourceError: the first process was killed, and this one has written that into the run directory.
    """
    from trainer.engine.failures import as_trainer_error, is_consequence, traceback_of
    from trainer.engine.stop_signals import OutOfTime, Stopped

    ranks, signals, result = session.ranks, session.signals, Result()
    end: RankEnd | None = None
    with session.file, signals, RankWatchdog(ranks, lambda end: _give_up(session, end, size)):
        try:
            train(session)
        except OutOfTime:
            signals.ending()
            ranks.wait_for_first()
        except Stopped as reason:
            signals.ending()
            result.exit_code = 128 + reason.signum
            if reason.saved:
                ranks.wait_for_first()
            elif (end := ranks.other_end()) is None:
                ranks.stopped(reason.signum)
        except FirstRankFailed as reason:
            signals.ending()
            result.exit_code = reason.error.exit_code
        except Exception as reason:
            signals.ending()
            end = ranks.other_end(HEAR_SECONDS) if is_consequence(reason) else None
            if end is None:
                error = as_trainer_error(reason)
                result.exit_code = 128 + signals.received if signals.received else error.exit_code
                ranks.failed(error, traceback_of(error))
    if end is not None:
        result.exit_code = _code(end)
        if (said := _speak_for_first(session, end, size)) is not None:
            raise said
    return result


def _code(end: RankEnd) -> int:
    return end.error.exit_code if end.error is not None else 128 + (end.signum or 0)


def _speak_for_first(session: Any, end: RankEnd, size: int) -> TrainerError | None:
    """Write the end of a training whose first process was killed; None where that isn't so, or another one did."""
    if not end.lost or end.rank != 0 or end.error is None:
        return None
    try:
        with session.run.held():  # a dead process holds nothing
            wrote = write_failure_record(session.run, session.exp, end.error, size)
    except (ResourceError, OSError):
        return None
    return end.error if wrote else None


def _give_up(session: Any, end: RankEnd, size: int) -> None:
    """End this process: its training thread waits, in a step that nothing interrupts, for one that has ended."""
    error = _speak_for_first(session, end, size)
    if error is not None:
        print(f"{error.kind}: {mask_text(error.message)}", file=sys.stderr, flush=True)
    os._exit(_code(end))
