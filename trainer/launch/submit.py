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

from trainer.config.overrides import key_of
from trainer.config.saved_overrides import OF_THE_COMMAND
from trainer.core.cli_text import program
from trainer.core.errors import ConfigError, ResourceError
from trainer.launch import LAUNCHED, launcher_registry
from trainer.launch.job import FOLDER, Job, travelling
from trainer.launch.job_store import LaunchedJob, read
from trainer.launch.launcher import Launcher
from trainer.runs.run import Run
from trainer.schema import Experiment
from trainer.schema import LauncherConfig as Options

COMMANDS = ("train", "check")


def runs_elsewhere(command: str, config: object) -> bool:
    """Whether a command line is to be run by a launcher: not where it was started by one, or runs here anyway."""
    if command not in COMMANDS or not isinstance(config, Experiment) or os.environ.get(LAUNCHED):
        return False
    return config.launcher.name != "local" or config.launch.detach or config.launcher.dry_run


def submit(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> int:
    """Launch what was typed, and stay with it unless ``launch.detach``.

    Returns:
        0 once it is handed over, or the exit code of what was stayed with.

    Raises:
        ConfigError: a run of that id is there already.
        ResourceError: the launcher's engine isn't there or refuses, or the run is launched and hasn't ended.
    """
    launcher = launcher_registry.make_launcher(exp.launcher)
    return hand_over(launcher, make_job(command, exp, overrides, dirs), exp.launch.detach)


def submit_sweep(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> int:
    """Launch a whole sweep in the background of this machine; its trials find their launcher by themselves."""
    options = Options(name="local", dry_run=exp.launcher.dry_run)
    id = f"sweep-{_stamp()}"
    words = [command, "-m", *flags(dirs), *(word for word in overrides if key_of(word) not in SAID_HERE)]
    job = Job(
        id=id,
        words=tuple(words),
        cwd=Path.cwd(),
        folder=Path(exp.output_dir).absolute() / FOLDER / id,
        title=f"sweep over {exp.model.name} on {exp.dataset.name}",
        environment=travelling(words),
        options=options,
    )
    return hand_over(launcher_registry.make_launcher(options), job, detach=True)


def hand_over(launcher: Launcher, job: Job, detach: bool) -> int:
    """Show, submit, or run a job."""
    if launcher.options.dry_run:
        print(launcher.plan(job).text)
        return 0
    before = read(job.folder)
    if before and not (status := launcher_registry.launcher_of(before).status(before)).ended:
        raise ResourceError(f"run {job.id} is launched already, as {before.handle}, and {status.state}")
    if not detach:
        return launcher.run(job)
    say_handle(launcher.submit(job))
    return 0


def say_handle(launched: LaunchedJob) -> None:
    """The handle for machines, what can be done with it for people."""
    print(launched.handle, flush=True)
    verbs = "status|logs|cancel|resume"
    print(f"{launched.facts['title']}: {program()} {verbs} {launched.handle}", file=sys.stderr)


def make_job(command: str, exp: Experiment, overrides: Sequence[str], dirs: Sequence[str] = ()) -> Job:
    """The job of a command line. A training gets an id, and words that go on with it however often it is started.

    Raises:
        ConfigError: a run of that id is there already, or the one to go on with isn't.
    """
    output = Path(exp.output_dir).absolute()
    words, run_dir = [word for word in overrides if key_of(word) not in SAID_HERE], None
    if command == "train":
        run, own = which_run(exp)
        run_dir, id = run.dir, run.id
        if own:
            words = [word for word in words if key_of(word) not in OF_THE_COMMAND]
            words += [f"id={id}", "resume=auto"]
    else:
        id = f"{command}-{_stamp()}"
    return Job(
        id=id,
        words=(command, *flags(dirs), *words),
        cwd=Path.cwd(),
        folder=output / FOLDER / (id + _node(exp.launcher)),
        title=f"{command} {exp.model.name} on {exp.dataset.name}",
        environment=travelling(words, exp.launcher.env),
        options=replace(exp.launcher, dry_run=False),
        run_dir=run_dir,
        device=exp.runtime.device,
    )


def which_run(exp: Experiment) -> tuple[Run, bool]:
    """The run that a training will be, and whether it has to be told so by ``id`` and ``resume=auto``.

    ``resume=<run>`` names one itself. ``resume=true`` is settled now: another may be the newest when it starts.
    """
    from trainer.config.run_directory import experiment_name

    name = experiment_name(exp)
    if isinstance(exp.resume, str) and exp.resume != "auto":
        return Run.find(exp.output_dir, exp.resume), False
    if exp.resume:
        newest = Run.newest(exp.output_dir, name) if not exp.id else None
        return newest or Run.named(exp.output_dir, name, exp.id or Run.new_id(exp.model.name)), True
    if own_command_each(exp.launcher):
        # Each machine's command makes the same one, and whoever is the first process has it.
        id = exp.id or Run.slug(f"{exp.model.name}-{exp.launcher.rdzv_id}")
        return Run.named(exp.output_dir, name, id), True
    run = Run.named(exp.output_dir, name, exp.id or Run.new_id(exp.model.name))
    if run.exists:
        raise ConfigError(
            f"there is a run {run.id} already ({run.dir}): resume=auto goes on with it, another id starts anew"
        )
    return run, True


def own_command_each(options: Options) -> bool:
    """Whether a training over several machines is started on each of them by a command of its own."""
    return options.name == "torchrun" and options.nodes > 1


def flags(dirs: Sequence[str]) -> list[str]:
    """``--config-dir`` for each folder."""
    return [word for path in dirs for word in ("--config-dir", path)]


def _node(options: Options) -> str:
    """What sets a machine's folder apart from the others', where all may share one disk."""
    if not own_command_each(options):
        return ""
    node = options.node_rank
    return f".node-{socket.gethostname()}-{secrets.token_hex(2)}" if node is None else f".node-{node}"


def _stamp() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


# How it is handed over, not what is.
SAID_HERE = ("launcher.dry_run", "launch.detach")
