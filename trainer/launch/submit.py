"""From a checked command line to a job: started elsewhere, in the background, or only shown."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config.overrides import key_of
from trainer.config.saved_overrides import OF_THE_COMMAND
from trainer.core.cli_text import program
from trainer.core.errors import ConfigError, ResourceError
from trainer.launch import launcher_registry
from trainer.launch.job import FOLDER, Job, travelling
from trainer.launch.job_store import LaunchedJob, read_launched
from trainer.launch.launcher import Launcher
from trainer.launch.variables import LAUNCHED
from trainer.runs.run import Run
from trainer.schema import Experiment, LauncherConfig

COMMANDS = ("train", "check")  # those that a launcher can run
# Overrides that say how a job is handed over; they don't travel with it.
SAID_HERE = ("launcher.dry_run", "launch.detach")


def runs_elsewhere(command: str, config: object) -> bool:
    """Whether a launcher runs a command line, rather than this process.

    A command line that a launcher has started runs in its process.
    """
    if command not in COMMANDS or not isinstance(config, Experiment) or os.environ.get(LAUNCHED):
        return False
    return config.launcher.name != "local" or config.launch.detach or config.launcher.dry_run


def submit(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> int:
    """Launch a command line, and wait for it unless ``launch.detach``.

    Args:
        command: ``train`` or ``check``.
        exp: the composed and checked experiment.
        overrides: the overrides as they were typed.
        dirs: the folders of ``--config-dir``.

    Returns:
        0 once it is handed over, or the exit code of the job that was waited for.

    Raises:
        ConfigError: there is a run of that id already.
        ResourceError: the launcher's engine isn't there or refuses, or the run is launched and hasn't ended.
    """
    launcher = launcher_registry.make_launcher(exp.launcher)
    return hand_over(launcher, make_job(command, exp, overrides, dirs), exp.launch.detach)


def submit_sweep(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> int:
    """Launch a whole sweep in the background of this machine; its driver launches the trials.

    Args and returns as :func:`submit`.
    """
    config_class = launcher_registry.launcher_class("local").config_class
    options = config_class(name="local", dry_run=exp.launcher.dry_run)
    id = f"sweep-{_time_stamp()}"
    argv = [command, "-m", *flags(dirs), *(word for word in overrides if key_of(word) not in SAID_HERE)]
    job = Job(
        id=id,
        argv=tuple(argv),
        cwd=Path.cwd(),
        folder=Path(exp.output_dir).absolute() / FOLDER / id,
        title=f"sweep over {exp.model.name} on {exp.dataset.name}",
        environment=travelling(argv),
        options=options,
    )
    return hand_over(launcher_registry.make_launcher(options), job, detach=True)


def hand_over(launcher: Launcher[Any], job: Job, detach: bool) -> int:
    """Show a job (``launcher.dry_run``), submit it, or submit it and wait for it.

    Raises:
        ResourceError: the job is launched already and hasn't ended.
    """
    if launcher.options.dry_run:
        print(launcher.plan(job).text)
        return 0
    launched = read_launched(job.folder)
    if launched and not (status := launcher_registry.launcher_of(launched).status(launched)).ended:
        raise ResourceError(f"run {job.id} is launched already, as {launched.handle}, and {status.state}")
    if not detach:
        return launcher.run(job)
    say_handle(launcher.submit(job))
    return 0


def say_handle(launched: LaunchedJob) -> None:
    """Print the handle on standard output, for scripts, and the commands that take it on standard error."""
    print(launched.handle, flush=True)
    verbs = "status|logs|cancel|resume"
    print(f"{launched.facts['title']}: {program()} {verbs} {launched.handle}", file=sys.stderr)


def make_job(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> Job:
    """The job of a command line. A training gets a run id, and arguments that resume this run at every later start.

    Args as :func:`submit`.

    Raises:
        ConfigError: there is a run of that id already, or the run to resume doesn't exist.
    """
    output = Path(exp.output_dir).absolute()
    argv, run_dir = [word for word in overrides if key_of(word) not in SAID_HERE], None
    if command == "train":
        run, is_resumed_by_id = which_run(exp)
        run_dir, id = run.dir, run.id
        if is_resumed_by_id:
            argv = [word for word in argv if key_of(word) not in OF_THE_COMMAND]
            argv += [f"id={id}", "resume=auto"]
    else:
        id = f"{command}-{_time_stamp()}"
    return Job(
        id=id,
        argv=(command, *flags(dirs), *argv),
        cwd=Path.cwd(),
        folder=output / FOLDER / (id + _node_suffix(exp.launcher)),
        title=f"{command} {exp.model.name} on {exp.dataset.name}",
        environment=travelling(argv, exp.launcher.env),
        options=replace(exp.launcher, dry_run=False),
        run_dir=run_dir,
        device=exp.runtime.device,
    )


def which_run(exp: Experiment) -> tuple[Run, bool]:
    """The run that a training will write.

    ``resume=true`` is settled now, since another run may be the newest when the job starts.

    Returns:
        The run, and whether the job needs ``id`` and ``resume=auto`` to find it; ``resume=<run>`` names it already.

    Raises:
        ConfigError: there is a run of that id already, or the run to resume doesn't exist.
    """
    from trainer.config.run_directory import experiment_name

    name = experiment_name(exp)
    if isinstance(exp.resume, str) and exp.resume != "auto":
        return Run.find(exp.output_dir, exp.resume), False
    if exp.resume:
        newest = Run.newest(exp.output_dir, name) if not exp.id else None
        return newest or Run.named(exp.output_dir, name, exp.id or Run.new_id(exp.model.name)), True
    if shared := _shared_run_name(exp.launcher):
        # Each machine's command makes the same run; the first process, wherever it is, writes it.
        id = exp.id or Run.slug(f"{exp.model.name}-{shared}")
        return Run.named(exp.output_dir, name, id), True
    run = Run.named(exp.output_dir, name, exp.id or Run.new_id(exp.model.name))
    if run.exists:
        raise ConfigError(
            f"there is a run {run.id} already ({run.dir}): resume=auto continues it, another id starts a new one"
        )
    return run, True


def flags(dirs: Sequence[str]) -> list[str]:
    """``--config-dir`` for each folder."""
    return [word for path in dirs for word in ("--config-dir", path)]


def _shared_run_name(options: LauncherConfig) -> str | None:
    return launcher_registry.launcher_class(options.name).shared_run_name(options)


def _node_suffix(options: LauncherConfig) -> str:
    """What tells the job folders of several machines apart, where each has its own command and all share a disk."""
    if _shared_run_name(options) is None:
        return ""
    node = getattr(options, "node_rank", None)
    return f".node-{socket.gethostname()}-{secrets.token_hex(2)}" if node is None else f".node-{node}"


def _time_stamp() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
