"""Training: MMEngine's Runner with our hooks, from a config to ``result.json``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.core.atomic_files import atomic_write
from trainer.core.cli_text import program, short
from trainer.core.errors import TrainerError
from trainer.core.secrets import masked
from trainer.core.user_modules import (
    KEY,
    custom_imports,
    import_if_possible,
    import_modules,
    user_modules,
)
from trainer.data.bundle import DataBundle
from trainer.engine.config_text import config_text
from trainer.engine.distributed.nonzero_rank import train_nonzero_rank
from trainer.engine.distributed.rank_watchdog import RankWatchdog
from trainer.engine.distributed.ranks import Ranks
from trainer.engine.failure_record import event_log_size
from trainer.engine.log_file import LogFile
from trainer.engine.process_setup import prepare_process
from trainer.engine.session import Session
from trainer.engine.visualization import Visualization
from trainer.runs.events.console import ConsoleView
from trainer.runs.events.log import EventLog, NullEventLog
from trainer.runs.events.logging_handler import EventLogHandler
from trainer.runs.events.system_metrics import SystemSampler
from trainer.runs.manifest import Entry, Manifest
from trainer.runs.result import Result
from trainer.runs.run import Run
from trainer.schema import Experiment

if TYPE_CHECKING:
    from mmengine.config import Config


def run_training(
    cfg: Config,
    run: Run,
    exp: Experiment,
    bundle: DataBundle,
    next_steps: list[tuple[str, str]] | None = None,
    ranks: Ranks | None = None,
) -> Result:
    """Train, and leave events, checkpoints and ``result.json`` in the run directory.

    With ``exp.resume`` set, training resumes from the newest whole checkpoint there, or starts from the beginning
    when none was written. SIGINT or SIGTERM stops it after the current iteration and saves; a second one stops it
    at once.

    Args:
        cfg: complete for ``Runner.from_cfg``; not changed.
        run: the run directory, which exists.
        exp: the composed experiment.
        bundle: the prepared data.
        next_steps: (description, command) pairs that are shown under the final table.
        ranks: the processes that train together, all of which call this; None for this process alone.

    Returns:
        The content of ``result.json``, with status ``finished``, ``pruned`` or ``cancelled``. Its ``exit_code`` is
        0, or 130 (SIGINT) or 143 (SIGTERM). In all processes but the first it has only the exit code.

    Raises:
        TrainerError: training failed. ``result.json`` has the error too, ``train.log`` the traceback.
    """
    prepare_process(exp)
    from rich.console import Console

    from trainer.engine.stop_signals import ONE_CTRL_C, OutOfTime, Stopped, StopSignals
    from trainer.engine.train_end import (
        give_up,
        out_of_time_message,
        reason_of_failure,
        reason_of_stop,
        write_end,
    )

    ranks = ranks or Ranks()
    signals = StopSignals(ONE_CTRL_C, several=True) if ranks.size > 1 else StopSignals()
    log_size = ranks.from_first(lambda: event_log_size(run))
    if not ranks.first:
        session = Session(cfg, run, exp, bundle, NullEventLog(), LogFile(Path(os.devnull)), signals, ranks)
        return train_nonzero_rank(session, train_session, log_size)
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
        Visualization(run, exp, bundle, log) as visualization,
    ):
        file.add_handler(EventLogHandler(log))
        log.listen(file.log_event)
        log.listen(view)
        view.open()
        session = Session(cfg, run, exp, bundle, log, file, signals, ranks, visualization)
        error: TrainerError | None = None
        stopped: Stopped | None = None
        with RankWatchdog(ranks, partial(give_up, session)):
            completed = False
            try:
                train_session(session)
                completed = True
            except OutOfTime:
                log.emit("warning", message=out_of_time_message(exp, resume))
            except (Stopped, KeyboardInterrupt) as stop:
                stopped, error = reason_of_stop(stop, session)
            except Exception as failure:
                stopped, error = reason_of_failure(failure, session)
            signals.ending()
            session.end_lock.acquire()  # blocks for ever where give_up() is writing the end already
        visualization.finish(hurry=stopped is not None)
        result = write_end(session, stopped, error)
        if not completed:  # else the other processes have left
            ranks.done()
        view.close()
    if error is not None:
        raise error
    return result


def train_session(session: Session) -> None:
    """Build the Runner with our hooks, and let it train."""
    import torch
    from mmengine.runner import CheckpointLoader

    import trainer.engine.worker_seeds  # noqa: F401 - named by runner_config
    from trainer.engine.checkpoint.file import SCHEME, load_for_runner
    from trainer.engine.data_order import order_data
    from trainer.engine.oom import BatchHook, out_of_memory_error
    from trainer.engine.runner import TrainRunner, runner_config
    from trainer.engine.runner_hooks import register_hooks
    from trainer.engine.weights.start import StartingWeights

    cfg, run, exp, ranks = session.cfg, session.run, session.exp, session.ranks
    manifest = Manifest(run.checkpoints)
    checkpoint = ranks.from_first(lambda: _resume_point(session, manifest))
    path = checkpoint[0] if checkpoint else None
    text = config_text(masked(cfg.to_dict()))
    if ranks.first:
        atomic_write(run.dir / "mmengine.py", text)
    TrainRunner.mm_logger = session.file.take_mmengine()
    CheckpointLoader.register_scheme(SCHEME, load_for_runner, force=True)
    _import_modules(session)

    settings = runner_config(cfg, exp, run.id, run.dir, path, ranks)
    weights = StartingWeights(cfg, exp, session.bundle, partial(_record_weights, session))
    weights.take_over(settings, resumed=path is not None)
    runner = TrainRunner.from_cfg(settings)
    runner.starting = None if path else weights
    if exp.runtime.deterministic:
        # Some losses have no deterministic form on a GPU.
        torch.use_deterministic_algorithms(True, warn_only=True)
    if exp.runtime.channels_last:
        runner.model = runner.model.to(memory_format=torch.channels_last)
    order = order_data(runner, limit=exp.debug.max_batches)
    checkpoints = register_hooks(runner, session, manifest, order, text, path)
    batches = BatchHook()
    runner.register_hook(batches)
    try:
        runner.train()
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory_error(error, runner, batches.batch) from error
    finally:
        if session.signals.received is None:  # after a signal the save is done, or must not be waited for
            checkpoints.finish()
    ranks.leave()


def _import_modules(session: Session) -> None:
    """Import what the config's ``custom_imports`` names; the user's modules among it are recorded in ``run.json``.

    Raises:
        ConfigError: a module can't be imported.
    """
    custom = session.cfg.get("custom_imports", {})
    modules = user_modules(custom)
    if session.ranks.first and (modules or session.run.facts.get("imports")):
        session.run.update(imports=modules)
    import_modules([name for name in modules if name in session.exp.imports], KEY)
    if custom.get("allow_failed_imports"):
        import_if_possible(custom_imports(custom))
    else:
        import_modules(custom_imports(custom), "mm.custom_imports")


def _record_weights(session: Session, reports: list[Any]) -> None:
    """Write to ``run.json`` which starting weights were loaded; warn where some were not."""
    if not session.ranks.first:
        return
    session.run.update(weights=[report.as_dict() for report in reports])
    for report in reports:
        if not report.complete:
            session.log.emit("warning", message=f"weights: {report}")


def _resume_point(session: Session, manifest: Manifest) -> tuple[Path, Entry] | None:
    """The checkpoint to resume from; None to start from the beginning.

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
    for complaint in dict.fromkeys([*complaints, *manifest.repair()]):
        message = f"{complaint}; resuming from {path.name} of epoch {entry['epoch']}"
        session.log.emit("warning", message=message)
    return path, entry
