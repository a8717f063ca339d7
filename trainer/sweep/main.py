"""``-m``: a sweep from its first trial to its last, on this machine and beside other drivers.

A trial is asked for, run as a process, followed by its event log, and told to the store; the next one begins as soon
as there is room. What is in the store, and in the runs' directories, is all that counts: a driver can be killed at
any moment, and the same command goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer.config.overrides import key_of
from trainer.config.saved_overrides import OF_THE_COMMAND
from trainer.core.errors import ConfigError
from trainer.launch import LAUNCHED
from trainer.schema.conf_folders import Conf
from trainer.sweep.driver.driver import Driver
from trainer.sweep.driver.lease import LeaseOwner
from trainer.sweep.driver.spawn_finalizer import spawn_finalizer
from trainer.sweep.driver.trial_start import make_launch
from trainer.sweep.space import make_plan
from trainer.sweep.stores.study_setup import open_study

logger = logging.getLogger("trainer")


def run_sweep(
    command: str,
    overrides: Sequence[str],
    conf: Conf,
    dirs: Sequence[str] = (),
    program: Sequence[str] | None = None,
) -> int:
    """Run the sweep that the words describe, or go on with it, and print its table.

    All that can be wrong is found before the first trial.

    Args:
        dirs: ``--config-dir`` folders, passed on to the trials.
        program: what a trial's command line begins with; None: this trainer, warm where that can be.

    Returns:
        0; 1 when it was given up (``sweep.max_failures``), no trial ended well, or one of a grid failed; 130 or 143
        when stopped by SIGINT or SIGTERM.

    Raises:
        ConfigError: with all mistakes, or because a sweep of that name is another one.
        StoreDown: the storage hasn't answered for ten minutes; running trials were told to save and end.
    """
    _refuse_names(overrides)
    plan = make_plan(command, overrides, conf)
    if command == "train" and plan.config.launcher.dry_run and not os.environ.get(LAUNCHED):
        from trainer.sweep.driver.launcher_trials import show

        show(plan, command, dirs)
        return 0
    if plan.config.launch.detach and not os.environ.get(LAUNCHED):
        from trainer.launch.submit import submit_sweep

        return submit_sweep(command, plan.config, overrides, dirs)
    if command != "train":
        from trainer.sweep.driver.sequential import run_sequentially

        return run_sequentially(plan, dirs, program)
    if plan.config.callback.name != "none":
        raise ConfigError(
            f"callback={plan.config.callback.name}: a sweep's trials would all answer for one job of the platform; "
            "leave it out, or start single runs."
        )
    from trainer.config.run_directory import experiment_name

    owner = LeaseOwner()
    opened = open_study(plan, overrides, experiment_name(plan.config), owner.name, dirs)
    launch = make_launch(plan, opened.folder, program)
    try:
        with _logged(opened.folder.log):
            code = Driver(plan, opened, owner, launch, dirs).run()
    finally:
        launch.close()
        opened.store.close()
    if program is None:
        spawn_finalizer(plan, opened.folder, wait=code in (0, 1))
    return code


def _refuse_names(overrides: Sequence[str]) -> None:
    """A sweep's runs have names of its own, by which it finds them again."""
    for word in overrides:
        if key_of(word) in OF_THE_COMMAND:
            raise ConfigError(
                f"{word}: a sweep names its runs itself, and goes on when the same command is given; leave it out, "
                "or name the sweep with sweep.study."
            )


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What the driver says goes to ``sweep.log`` too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
