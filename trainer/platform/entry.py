"""What ``train.py``, ``predict.py``, ``export.py`` and ``evaluate.py`` do: variables in, a job, an exit code.

Imports nothing that is installed beside Python itself before a wrong Python can be told from it.

Exit codes: 0 done, 1 failed (also for a mistake in the variables), 143 after SIGTERM, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainer.core.errors import ConfigError, TrainerError, UnknownError, missing_package
from trainer.core.installation import package_root
from trainer.core.secrets import MaskingFormatter, learn_environment, mask_text
from trainer.platform import job_environment
from trainer.platform.jobs import PlatformJob
from trainer.platform.settings.environment_variables import Variables, read
from trainer.platform.settings.startup_table import show
from trainer.platform.supervisor import Supervisor, Terminated

T = TypeVar("T")
logger = logging.getLogger("trainer")


def main(kind: str, argv: Sequence[str] | None = None) -> int:
    """Run a job of this kind; returns the exit code.

    Args:
        kind: train, predict, export or evaluate.
        argv: the words after the script's name; those of this process when None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    learn_environment()
    with Supervisor() as supervisor:
        try:
            code = _main(kind, words, supervisor)
        except Terminated:
            code = 1
        # A job that was done when the signal came is done; started again, it would begin anew.
        return 0 if code == 0 else supervisor.stop.exit_code or code


def _main(kind: str, words: list[str], supervisor: Supervisor) -> int:
    variables = Variables(kind, dict(os.environ))
    folders = (Path.cwd(), package_root())
    try:
        variables = read(kind, words, os.environ, folders)
        os.environ.update(job_environment.completed(variables))  # for the stores' clients in this process
        variables.environment = dict(os.environ)
        learn_environment()
        _log(variables.log_level)
        module = importlib.import_module(f"trainer.platform.jobs.{kind}_job")
        return int(module.run(_prepared(module, variables), supervisor))
    except TrainerError as error:
        return _failed(variables, error, None)
    except ModuleNotFoundError as error:
        return _failed(variables, missing_package(error), None)
    except Exception as error:
        return _failed(variables, UnknownError(f"{type(error).__name__}: {error}"), traceback.format_exc())


def _prepared(module: Any, variables: Variables) -> PlatformJob:
    """The job, after all that is wrong with what it was started with has been said at once."""
    mistakes: list[str] = []
    url = _attempt(variables.callback_url, mistakes)
    number = _attempt(variables.job_id, mistakes)
    job: PlatformJob = module.prepare(variables, number or 0, url or "", mistakes)
    show(job)
    if mistakes:
        from trainer.config.override_checks import list_mistakes

        raise ConfigError(list_mistakes(mistakes))
    return job


def _attempt(action: Callable[[], T], mistakes: list[str]) -> T | None:
    try:
        return action()
    except ConfigError as error:
        mistakes.append(error.message)
        return None


def _log(level: str) -> None:
    """What this process has to say goes to stderr, in the platform's form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskingFormatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def _failed(variables: Variables, error: TrainerError, trace: str | None) -> int:
    """Say what is wrong, to people and, where the job's number and address are known, to the backend."""
    print(f"{error.kind}: {mask_text(error.message)}", file=sys.stderr)
    if trace:
        print(mask_text(trace), file=sys.stderr)
    with contextlib.suppress(ConfigError, ModuleNotFoundError):
        from trainer.platform.callbacks import failure_callback

        url, number = variables.callback_url(), variables.job_id()
        failure_callback.failure(variables, number, url, error, trace)
    return 1
