"""``python -m trainer [train] key=value ...``: prepare the data, bridge to MMEngine, train, leave a run directory.

What each part does and the keys that steer it: data (``dataset.*``), the MMEngine config (every other group and
``mm.*``), the run directory (``name``, ``output_dir``, ``resume``), tracking (``tracking.*``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.bridge.build import build_config
from trainer.commands.common import notes_to_stderr
from trainer.commands.next_steps import next_steps
from trainer.config.schema import Experiment
from trainer.data.prepare import prepare
from trainer.run import Run
from trainer.secrets import masked, masked_words
from trainer.storage import atomic_write

# The tracker's process goes on by itself after this; a run's end is not held up by a server.
TRACKER_SECONDS = 20.0


def main(exp: Experiment, overrides: list[str]) -> int:
    """Train and return the exit code: 0, 130 or 143 when stopped by a signal.

    Raises:
        TrainerError: the configuration, the data or training failed.
    """
    return train(exp, overrides).exit_code


def train(exp: Experiment, overrides: list[str]) -> Any:
    """Train an experiment; what ``main`` does, for Python. Returns what ``result.json`` holds."""
    bundle = prepare(exp.dataset, exp.task.name)
    built = build_config(exp, bundle)
    notes_to_stderr([*bundle.notes, *built.notes])

    run = open_run(exp)
    built.cfg["work_dir"] = str(run.dir)
    write_configuration(run, exp, overrides)
    run.update(
        command="train",
        task=exp.task.name,
        model=exp.model.name,
        base=exp.model.base,
        dataset=exp.dataset.name,
        fingerprint=bundle.fingerprint,
        notes=built.notes,
    )
    from trainer import tracking
    from trainer.engine.limits import settle_openmp

    settle_openmp()  # while the tracker's process, which is about to import MLflow, doesn't look like a busy machine

    # Imported last: everything before this line is checked without torch and the OpenMMLab packages.
    tracker = tracking.start(run, exp.tracking, exp.output_dir)
    try:
        from trainer.engine.fit import fit

        result = fit(built.config(), run, exp, bundle, next_steps(exp, run))
    finally:
        tracker.wait(TRACKER_SECONDS)
    if tracker.mlflow_run_id:
        run.update(mlflow_run_id=tracker.mlflow_run_id)
        result["mlflow_run_id"] = tracker.mlflow_run_id
        run.write_result(result)
    return result


def experiment_name(exp: Experiment) -> str:
    """The folder and the tracker's experiment: what is trained for what, so that its runs compare."""
    return exp.name or f"{exp.dataset.name}-{exp.task.name}"


def open_run(exp: Experiment) -> Run:
    """The run that ``resume`` names, or a new one."""
    if isinstance(exp.resume, str):
        return Run.find(exp.output_dir, exp.resume)
    if exp.resume:
        newest = Run.newest(exp.output_dir, experiment_name(exp))
        if newest is not None:
            return newest
    return Run.create(exp.output_dir, experiment_name(exp), exp.model.name)


def write_configuration(run: Run, exp: Experiment, overrides: list[str]) -> None:
    """``config.yaml`` (what was composed) and ``overrides.yaml`` (what was typed), secrets masked."""
    import yaml

    config = masked(dataclasses.asdict(exp))
    atomic_write(run.dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    typed = masked_words([word for word in overrides if not word.startswith("resume=")])
    atomic_write(run.dir / "overrides.yaml", yaml.safe_dump(typed, allow_unicode=True))
