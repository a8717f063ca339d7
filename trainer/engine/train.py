"""Training: MMEngine's Runner with our hooks, from a config to ``result.json``."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.core.atomic_files import atomic_write
from trainer.core.cli_text import program, short
from trainer.core.errors import TrainerError
from trainer.core.installation import VERSION
from trainer.core.secrets import mask_text, masked
from trainer.data.bundle import DataBundle
from trainer.engine.config_text import config_text
from trainer.engine.distributed.nonzero_rank import train_nonzero_rank
from trainer.engine.distributed.rank_watchdog import RankWatchdog
from trainer.engine.distributed.ranks import RankEnd, Ranks
from trainer.engine.failure_record import event_log_size
from trainer.engine.log_file import LogFile
from trainer.engine.process_setup import prepare_process
from trainer.engine.visualization import Visualization
from trainer.mmconfig.batch import batch_facts
from trainer.runs.events.console import ConsoleView
from trainer.runs.events.log import EventLog, NullEventLog
from trainer.runs.events.logging_handler import EventLogHandler
from trainer.runs.events.system_metrics import SystemSampler
from trainer.runs.manifest import Entry, Manifest
from trainer.runs.result import Result, build_result
from trainer.runs.run import Run
from trainer.schema import Experiment

if TYPE_CHECKING:
    from mmengine.config import Config

    from trainer.engine.data_order import DataOrderHook
    from trainer.engine.hooks.checkpoints import CheckpointsHook
    from trainer.engine.stop_signals import StopSignals


# From the end of a connection to another process until that one has said why, or is seen to have ended.
HEAR_SECONDS = 3.0


@dataclass
class Session:
    """What the steps below share."""

    cfg: Config
    run: Run
    exp: Experiment
    bundle: DataBundle
    log: EventLog
    file: LogFile
    signals: StopSignals
    ranks: Ranks
    pictures: Visualization | None = None
    started: float = field(default_factory=time.monotonic)
    ended: threading.Lock = field(default_factory=threading.Lock)  # held by whoever writes the end


def run_training(
    cfg: Config,
    run: Run,
    exp: Experiment,
    bundle: DataBundle,
    next_steps: list[tuple[str, str]] | None = None,
    ranks: Ranks | None = None,
) -> Result:
    """Train, and leave events, checkpoints and ``result.json`` in the run directory.

    With ``exp.resume`` set, goes on from the newest whole checkpoint there, or from the start when none was
    written. SIGINT or SIGTERM stops after the current iteration and saves; a second one stops at once.

    Args:
        cfg: complete for ``Runner.from_cfg``; not changed.
        next_steps: (what, command) pairs that are shown under the final table.
        ranks: the processes that train together, all of which call this; None for this one alone.

    Returns:
        What ``result.json`` holds, status ``finished``, ``pruned`` or ``cancelled``; its ``exit_code`` is 0, or
        130 (SIGINT) or 143 (SIGTERM). Nothing but the exit code in all processes but the first.

    Raises:
        TrainerError: training failed. ``result.json`` says so too, ``train.log`` has the traceback.
    """
    prepare_process(exp)
    from rich.console import Console

    from trainer.engine.stop_signals import ONE_CTRL_C, OutOfTime, Stopped, StopSignals

    ranks = ranks or Ranks()
    signals = StopSignals(ONE_CTRL_C, several=True) if ranks.size > 1 else StopSignals()
    size = ranks.from_first(lambda: event_log_size(run))
    if not ranks.first:
        session = Session(cfg, run, exp, bundle, NullEventLog(), LogFile(Path(os.devnull)), signals, ranks)
        return train_nonzero_rank(session, train_session, size)
    run.start_attempt()
    resume = f"{program()} resume={short(run.dir)}"
    view = ConsoleView(Console(highlight=False), short(run.dir), next_steps, resume)
    # The view keeps the terminal; everything printed from here on goes to the log file.
    view.console.file = view.console.file
    with (
        LogFile(run.dir / "train.log") as file,
        EventLog(run.events) as log,
        signals,
        SystemSampler(log, run.dir),
        Visualization(run, exp, bundle, log) as pictures,
    ):
        file.also(EventLogHandler(log))
        log.listen(file.tell)
        log.listen(view)
        view.open()
        session = Session(cfg, run, exp, bundle, log, file, signals, ranks, pictures)
        error: TrainerError | None = None
        stopped: Stopped | None = None
        with RankWatchdog(ranks, partial(_give_up, session)):
            through = False
            try:
                train_session(session)
                through = True
            except OutOfTime:
                log.emit("warning", message=_out_of_time(exp, resume))
            except (Stopped, KeyboardInterrupt) as reason:
                stopped, error = _why_stopped(reason, ranks)
            except Exception as reason:
                stopped, error = _explain(reason, signals, file, ranks)
            signals.ending()
            session.ended.acquire()  # a watch that has given up is writing the end already
        pictures.finish(hurry=stopped is not None)
        result = _close(run, exp, log, stopped, error)
        if not through:  # else the others have left
            ranks.done()
        view.close()
    if error is not None:
        raise error
    return result


def train_session(session: Session) -> None:
    """Build the Runner with our hooks and let it train."""
    import torch
    from mmengine.runner import CheckpointLoader
    from mmengine.utils import import_modules_from_strings

    from trainer.engine.checkpoint.file import SCHEME, load_for_runner
    from trainer.engine.data_order import order_data
    from trainer.engine.oom import BatchHook, out_of_memory_error
    from trainer.engine.runner import TrainRunner, runner_config
    from trainer.engine.weights.start import StartingWeights

    cfg, run, exp, ranks = session.cfg, session.run, session.exp, session.ranks
    manifest = Manifest(run.checkpoints)
    start = ranks.from_first(lambda: _resume_point(session, manifest))
    text = config_text(masked(cfg.to_dict()))
    if ranks.first:
        atomic_write(run.dir / "mmengine.py", text)
    TrainRunner.mm_logger = session.file.take_mmengine()
    CheckpointLoader.register_scheme(SCHEME, load_for_runner, force=True)
    import_modules_from_strings(**cfg.get("custom_imports", {"imports": []}))
    import trainer.engine.worker_seeds  # noqa: F401 - named by runner_config

    path = start[0] if start else None
    settings = runner_config(cfg, exp, run.id, run.dir, path, ranks)
    weights = StartingWeights(cfg, exp, session.bundle, partial(_tell_weights, session))
    weights.take_over(settings, resumed=path is not None)
    runner = TrainRunner.from_cfg(settings)
    runner.starting = None if path else weights
    if exp.runtime.deterministic:
        torch.use_deterministic_algorithms(
            True, warn_only=True
        )  # some losses have no deterministic form on a GPU
    if exp.runtime.channels_last:
        runner.model = runner.model.to(memory_format=torch.channels_last)
    order = order_data(runner, limit=exp.debug.max_batches)
    checkpoints = _register_hooks(session, runner, manifest, text, path, order)
    held = BatchHook()
    runner.register_hook(held)
    try:
        runner.train()
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory_error(error, runner, held.batch) from error
    finally:
        if session.signals.received is None:  # a stop has waited already, or must not
            checkpoints.finish()
    ranks.leave()


def _register_hooks(
    session: Session, runner: Any, manifest: Manifest, text: str, path: Path | None, order: DataOrderHook
) -> CheckpointsHook:
    """Data order, events, checkpoints, profile, stop; intervals and the metric are those of the config's hooks."""
    from trainer.engine.checkpoint.writer import CheckpointWriter, Keep
    from trainer.engine.hooks.checkpoints import CheckpointsHook
    from trainer.engine.hooks.events import EventsHook
    from trainer.engine.hooks.profile import ProfileHook
    from trainer.engine.stop_signals import StopHook

    cfg, exp, run, log, ranks = session.cfg, session.exp, session.run, session.log, session.ranks
    hooks = cfg.get("default_hooks", {})
    stock, logger = hooks.get("checkpoint") or {}, hooks.get("logger") or {}
    rule = stock.get("rule") or ("greater" if exp.task.mode == "max" else "less")
    keep = Keep(rule == "greater", exp.runtime.keep_best, exp.runtime.keep_every)
    checkpoints = CheckpointsHook(
        CheckpointWriter(manifest, log, keep),
        log,
        _about(session, text),
        order,
        ranks,
        interval=stock.get("interval", 1),
        by_epoch=stock.get("by_epoch", True),
        save_best=stock.get("save_best") or exp.task.primary_metric,
        source=path.stem if path else "last",
    )
    identity = {
        "run_id": run.id,
        "run_dir": str(run.dir),
        "experiment": run.experiment,
        "task": exp.task.name,
        "model": exp.model.name,
        "dataset": exp.dataset.name,
        "classes": list(session.bundle.classes),
        "data": _data(session),
        "primary_metric": {"name": exp.task.primary_metric, "mode": exp.task.mode},
        "batch": batch_facts(cfg, exp, ranks.size),
    }
    runner.register_hook(order)
    interval = logger.get("interval", exp.runtime.log_interval)
    runner.register_hook(EventsHook(log, interval, identity, ranks))
    if ranks.first:
        if exp.debug.profile:
            runner.register_hook(ProfileHook(run.dir / "profile", log))
        for hook in session.pictures.hooks() if session.pictures else ():
            runner.register_hook(hook)
    runner.register_hook(checkpoints)
    minutes = exp.runtime.max_minutes
    seconds = None if minutes is None else session.started + 60 * minutes - time.monotonic()
    runner.register_hook(StopHook(session.signals, checkpoints, ranks, seconds))
    return checkpoints


def _tell_weights(session: Session, reports: list[Any]) -> None:
    """What became of the weights that training starts from, in ``run.json``; a warning where some weren't taken."""
    if not session.ranks.first:
        return
    session.run.update(weights=[report.as_dict() for report in reports])
    for report in reports:
        if not report.complete:
            session.log.emit("warning", message=f"weights: {report}")


def _data(session: Session) -> dict[str, Any]:
    """What is trained on, as ``run_started`` has it."""
    bundle, dataset = session.bundle, session.exp.dataset
    return {
        "fingerprint": bundle.fingerprint,
        "format": dataset.format,
        "source": dataset.path,
        "splits": {
            name: {"images": split.num_images, "annotations": split.num_annotations}
            for name, split in bundle.splits.items()
        },
    }


def _about(session: Session, text: str) -> dict[str, Any]:
    """What inference must know about a checkpoint, in plain values."""
    exp, bundle = session.exp, session.bundle
    return {
        "version": VERSION,
        "task": exp.task.name,
        "model": exp.model.name,
        "dataset": exp.dataset.name,
        "classes": list(bundle.classes),
        "palette": [list(colour) for colour in bundle.palette],
        "config": text,
        "run_id": session.run.id,
        "batch": batch_facts(session.cfg, exp, session.ranks.size),
        "fingerprint": bundle.fingerprint,
    }


def _resume_point(session: Session, manifest: Manifest) -> tuple[Path, Entry] | None:
    """The checkpoint to go on from, or None for a start from the beginning.

    Raises:
        CheckpointError: there were checkpoints, but none is whole.
    """
    manifest.clean()
    if not session.exp.resume:
        return None
    if manifest.empty:
        if len(session.run.facts.get("attempts", ())) > 1:  # resume=auto begins new runs, too
            session.log.emit(
                "warning", message="nothing was saved before: training starts from the beginning"
            )
        return None
    path, entry, complaints = manifest.newest_valid()
    for complaint in dict.fromkeys([*complaints, *manifest.mend()]):
        session.log.emit(
            "warning", message=f"{complaint}; going on from {path.name} of epoch {entry['epoch']}"
        )
    return path, entry


def _out_of_time(exp: Experiment, resume: str) -> str:
    return f"runtime.max_minutes={exp.runtime.max_minutes:g} are over: saved; go on with {resume}"


def _why_stopped(reason: BaseException, ranks: Ranks) -> tuple[Any, TrainerError | None]:
    """A signal as (stopped, error): it may have come because another process failed."""
    from trainer.engine.stop_signals import Stopped

    stopped = reason if isinstance(reason, Stopped) else Stopped(2, None)
    end = None if stopped.saved else ranks.other_end()
    if end is not None and end.error is not None:
        return None, end.error
    ranks.stopped(stopped.signum)
    return stopped, None


def _explain(
    reason: Exception, signals: StopSignals, file: LogFile, ranks: Ranks
) -> tuple[Any, TrainerError | None]:
    """An exception as (stopped, error), one of the two; its traceback goes to the log file."""
    from trainer.engine.failures import as_trainer_error, is_consequence, is_worker_death, traceback_of
    from trainer.engine.stop_signals import Stopped

    file.write("training ended with an exception", logging.ERROR, reason)
    end = ranks.other_end(HEAR_SECONDS) if is_consequence(reason) else None
    if end is not None:
        if end.trace:
            file.write(f"process {end.rank}: {end.trace}", logging.ERROR)
        return (None, end.error) if end.error is not None else (Stopped(end.signum or 15, None), None)
    # A signal to all processes may end the data loader's workers before the training process has heard of it.
    received = signals.wait(HEAR_SECONDS) if is_worker_death(reason) else signals.received
    if received is not None:
        return Stopped(received, None), None
    error = as_trainer_error(reason)
    ranks.failed(error, traceback_of(error))
    return None, error


def _give_up(session: Session, end: RankEnd) -> None:
    """The end of a training whose thread waits for a process that has ended, written by another thread."""
    from trainer.engine.stop_signals import Stopped

    if not session.ended.acquire(blocking=False):
        return
    session.signals.ending()
    stopped = Stopped(end.signum or 15, None) if end.error is None else None
    code = _close(session.run, session.exp, session.log, stopped, end.error).exit_code
    session.ranks.done()
    if end.error is not None:
        code = end.error.exit_code
        print(f"{end.error.kind}: {mask_text(end.error.message)}", file=sys.stderr, flush=True)
    os._exit(code)


def _close(run: Run, exp: Experiment, log: EventLog, stopped: Any, error: TrainerError | None) -> Result:
    """The last event, ``result.json`` and the end of the attempt in ``run.json``."""
    from trainer.engine.failures import traceback_of

    pruned = stopped is not None and stopped.pruned
    status = "failed" if error else "pruned" if pruned else "cancelled" if stopped else "finished"
    told = {"type": error.kind, "message": error.message} if error else None
    log.flush()
    result = build_result(
        run,
        status=status,
        task=exp.task.name,
        model=exp.model.name,
        dataset=exp.dataset.name,
        metric=exp.task.primary_metric,
        mode=exp.task.mode,
        error=told,
    )
    with _disk_may_be_full("result.json"):
        run.write_result(result)  # before the last event, on which the sinks end
    if error is not None:
        log.emit("failed", error=told, traceback=traceback_of(error), result=dict(result))
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
    """Why a run ended is told all the same, on the terminal and by the exit code."""
    try:
        yield
    except OSError as error:
        logging.getLogger("trainer").error("%s couldn't be written: %s", name, error)
