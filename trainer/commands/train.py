"""``python -m trainer [train] key=value ...``: prepare the data, bridge to MMEngine, train, leave a run directory.

What each part does and the keys that steer it: data (``dataset.*``), the MMEngine config (every other group and
``mm.*``), the run directory (``name``, ``output_dir``, ``resume``), tracking (``tracking.*``).
"""

from __future__ import annotations

import logging
from typing import Any

from trainer.checkpoints.weight_spec import pin_weights
from trainer.commands.next_steps import next_steps
from trainer.commands.notes import notes_to_stderr
from trainer.config.run_directory import open_run, write_configuration
from trainer.core import plugins
from trainer.core.errors import NetworkError, TrainerError
from trainer.core.secrets import learn_environment
from trainer.data.bundle import DataBundle
from trainer.data.dataset_report import write_report
from trainer.data.prepare import prepare
from trainer.engine.distributed.join import join
from trainer.engine.distributed.ranks import FirstRankFailed, Ranks
from trainer.engine.failure_record import event_log_size, has_failure_record, write_failure_record
from trainer.mmconfig.build_config import Built, build_config
from trainer.mmconfig.initial_weights import fetch_all
from trainer.runs.callback import RunCallback
from trainer.runs.run import Run
from trainer.schema import Experiment

# The tracker's process goes on by itself after this; a run's end is not held up by a server.
TRACKER_SECONDS = 20.0
STOPPED_SECONDS = 5.0  # somebody asked for the end


def main(exp: Experiment, overrides: list[str]) -> int:
    """Train and return the exit code: 0, 130 or 143 when stopped by a signal.

    Raises:
        TrainerError: the configuration, the data or training failed.
    """
    return train(exp, overrides).exit_code


def train(exp: Experiment, overrides: list[str], **facts: Any) -> Any:
    """Train an experiment; what ``main`` does, for Python. Returns what ``result.json`` holds.

    ``facts`` are added to ``run.json``.
    """
    learn_environment()
    callback = _callback(exp)
    if callback:
        callback.check(exp.callback)
    ranks = join(exp)
    try:
        return _prepared(exp, overrides, facts, ranks)
    except FirstRankFailed as reason:  # the first process says why
        from trainer.runs.result import Result

        result = Result()
        result.exit_code = reason.error.exit_code
        return result


def _prepared(exp: Experiment, overrides: list[str], facts: dict[str, Any], ranks: Ranks) -> Any:
    bundle = ranks.after_first(lambda: prepare(exp.dataset, exp.task.name))
    built = ranks.after_first(lambda: build_config(exp, bundle, world_size=ranks.size))
    if ranks.first:
        notes_to_stderr([*bundle.notes, *built.notes])
    if not exp.resume:  # a run that goes on has its own
        ranks.after_first(lambda: fetch_all(built.cfg))
    overrides = pin_weights(overrides, built.cfg.get("load_from"))

    run = ranks.from_first(lambda: open_run(exp))
    built.cfg["work_dir"] = str(run.dir)
    if not ranks.first:
        from trainer.engine.train import run_training

        return run_training(built.config(), run, exp, bundle, ranks=ranks)
    try:
        with run.held():
            run.update(**facts)
            return _train(exp, overrides, bundle, built, run, ranks)
    except TrainerError as error:
        ranks.failed(error)
        raise


def _train(
    exp: Experiment, overrides: list[str], bundle: DataBundle, built: Built, run: Run, ranks: Ranks
) -> Any:
    write_configuration(run, exp, overrides)
    write_report(run.dir, bundle)
    run.update(
        command="train",
        task=exp.task.name,
        model=exp.model.name,
        base=exp.model.base,
        dataset=exp.dataset.name,
        fingerprint=bundle.fingerprint,
        batch=built.batch,
        notes=built.notes,
    )
    from trainer import tracking
    from trainer.core.cpu_budget import settle_openmp

    settle_openmp()  # while the tracker's process, which is about to import MLflow, doesn't look like a busy machine

    # Imported last: everything before this line is checked without torch and the OpenMMLab packages.
    callback, before = _callback(exp), event_log_size(run)
    reporting = callback.start(run, exp.callback) if callback else None
    trackers = tracking.start_sink(run, exp.tracking, exp.output_dir)
    result, stopped = None, False
    try:
        from trainer.engine.train import run_training

        result = run_training(built.config(), run, exp, bundle, next_steps(exp, run), ranks)
        stopped = result.exit_code != 0
    except Exception as error:
        write_failure_record(run, exp, error, before)
        raise
    finally:
        # Without a last word the sink waits for this process, not the other way round.
        missing = reporting.wait(stopped) if reporting and has_failure_record(run, before) else None
        if missing and result is None:  # why training failed is the command's to say
            logging.getLogger("trainer").warning("%s", missing)
        trackers.wait(STOPPED_SECONDS if stopped else TRACKER_SECONDS)
    if facts := trackers.facts:
        run.update(**facts)
        result.update(facts)
        run.write_result(result)
    if missing and not stopped:
        raise NetworkError(missing)
    return result


def _callback(exp: Experiment) -> RunCallback | None:
    """What ``callback=<name>`` chooses; None for ``callback=none``."""
    if exp.callback.name == "none":
        return None
    callback: RunCallback = plugins.load("trainer.callbacks", exp.callback.name)()
    return callback
