"""The command line: which command, which of Hydra's flags, and what is said when something is wrong."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli.simple_commands import SIMPLE_COMMANDS
from trainer.core.errors import ConfigError, TrainerError, did_you_mean, of_the_machine
from trainer.core.secrets import learn_environment, mask_text

if TYPE_CHECKING:
    from trainer.schema.conf_folders import Conf

COMMANDS = ("train", "show", "check", "evaluate", "predict", "export", *SIMPLE_COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line. Returns 0, 1 (failed), 2 (a mistake in the configuration) or 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    learn_environment()
    try:
        return _run(words)
    except TrainerError as error:
        # A mistake in what was typed is found by every process of a training; the first one says it.
        if error.kind != "ConfigError" or os.environ.get("RANK", "0") in ("", "0"):
            print(f"{error.kind}: {mask_text(error.message)}", file=sys.stderr)
        _report(error.kind, error.message, error.__cause__)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (| head); what Python would still flush must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a user gets one line; the log gets the rest
        if known := of_the_machine(error):
            print(f"{known.kind}: {mask_text(known.message)}", file=sys.stderr)
            _report(known.kind, known.message, error)
            return known.exit_code
        _report("UnknownError", f"{type(error).__name__}: {error}", error)
        return _unexpected(error)


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command (``train`` when none is named) and the rest; a ConfigError for any other bare word."""
    for index, word in enumerate(words):
        if word.startswith(("-", "~")) or "=" in word:
            continue
        if index and words[index - 1].startswith("-") and words[index - 1] not in _SWITCH_FLAGS:
            continue  # a flag's value; an unknown flag is told of later
        if word not in COMMANDS:
            hint = did_you_mean(word, COMMANDS) or f" Commands: {', '.join(COMMANDS)}."
            raise ConfigError(f"there is no command {word!r}.{hint} Everything else is key=value.")
        if any("=" in earlier for earlier in words[:index]):
            raise ConfigError(f"the command comes first: python -m trainer {word} ...")
        return word, [*words[:index], *words[index + 1 :]]
    return "train", list(words)


def _run(words: list[str]) -> int:
    from trainer.schema.conf_folders import conf_with_dirs

    command, rest = split_command(words)
    if command in SIMPLE_COMMANDS:
        from trainer.cli import simple_commands

        return simple_commands.run_simple_command(command, rest)
    args = _parse(rest)
    if args.help:
        from trainer.cli.help import show_help

        show_help(command if command in words else None)
        return 0
    if args.version:
        from trainer import __version__

        print(f"trainer {__version__}")
        return 0
    modes = {"--run": args.run, "--multirun": args.multirun, "--cfg": args.cfg, "--info": args.info}
    if len(given := [flag for flag, value in modes.items() if value]) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other; give one of them.")
    if args.shell_completion:
        from trainer.cli.completion import complete

        return complete(args.overrides, conf_with_dirs(args.config_dir))
    overrides = _with_saved(command, args)
    conf = conf_with_dirs(args.config_dir)
    if args.hydra_help or args.info or args.cfg in ("hydra", "all"):
        from trainer.cli import print_config

        return print_config.through_hydra(command, overrides, conf, args)
    if args.multirun:
        from trainer.sweep.main import run_sweep

        return run_sweep(command, overrides, conf, args.config_dir)
    return _command(command, overrides, conf, args)


def _command(command: str, overrides: list[str], conf: Conf, args: argparse.Namespace) -> int:
    from trainer.config.compose import compose

    # Thousands of small nodes that all live on: the collector would look at them again and again.
    gc.disable()
    try:
        config, tree = compose(command, overrides, conf=conf, runnable=not args.cfg)
        gc.freeze()
    finally:
        gc.enable()
    if args.cfg:
        from trainer.cli import print_config

        return print_config.print_config(tree, args.package, resolve=args.resolve)
    from trainer.launch.submit import runs_elsewhere, submit

    if runs_elsewhere(command, config):
        return submit(command, config, overrides, args.config_dir)
    module = importlib.import_module(f"trainer.commands.{command}")
    return int(module.main(config, overrides) or 0)


def _parse(words: list[str]) -> argparse.Namespace:
    """Hydra's flags, as Hydra has them."""
    parser = argparse.ArgumentParser("python -m trainer", add_help=False, allow_abbrev=False)
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument("overrides", nargs="*")
    for flags in _SWITCHES:
        parser.add_argument(*flags, action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=_INFO)
    return parser.parse_intermixed_args(words)


def _refuse(message: str) -> Any:
    hint = ""
    if message.startswith("unrecognized arguments: "):
        word = message.rpartition(" ")[2].partition("=")[0]
        hint = did_you_mean(word, [flag for flags in (*_SWITCHES, *_VALUED) for flag in flags])
    raise ConfigError(f"{message}.{hint} python -m trainer --help lists the flags.")


def _with_saved(command: str, args: argparse.Namespace) -> list[str]:
    """With ``resume=<run>``, what was typed for that run comes before what is typed now, its folders too."""
    if not any(text.startswith("resume=") for text in args.overrides):
        return list(args.overrides)
    from trainer.config.saved_overrides import named_run, with_saved

    run = named_run(command, args.overrides)
    if run is None:
        return list(args.overrides)
    saved = with_saved(run, args.overrides, args.config_dir)
    args.config_dir = saved.config_dirs
    return saved.overrides


def _report(kind: str, message: str, cause: BaseException | None) -> None:
    """Tell whoever started this process why it failed, in the file that ``TRAINER_FAILURE`` names."""
    path = os.environ.get("TRAINER_FAILURE")
    if not path:
        return
    import json

    from trainer.core.atomic_files import atomic_write

    trace = "".join(traceback.format_exception(cause)) if cause else None
    facts = {"kind": kind, "message": mask_text(message), "traceback": trace and mask_text(trace)}
    with contextlib.suppress(OSError):
        atomic_write(path, json.dumps(facts) + "\n")


def _unexpected(error: Exception) -> int:
    """One line, and where the rest is: a bug's traceback is for the log."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exc()
        return 1
    logger = logging.getLogger("trainer")
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    try:
        if files:
            info = (type(error), error, error.__traceback__)
            files[0].handle(logger.makeRecord("trainer", logging.ERROR, "", 0, "unexpected error", (), info))
            where = files[0].baseFilename
        else:
            from trainer.core.atomic_files import atomic_write

            where = str(atomic_write(Path("runs") / "error.log", mask_text(traceback.format_exc())))
    except OSError:
        traceback.print_exc()
        return 1
    text = mask_text(" ".join(str(error).split())) or "no message"
    print(f"UnknownError: {type(error).__name__}: {text} (the traceback is in {where})", file=sys.stderr)
    return 1


_SWITCHES = (
    ("--help", "-h"),
    ("--hydra-help",),
    ("--version",),
    ("--resolve",),
    ("--run", "-r"),
    ("--multirun", "-m"),
    ("--shell-completion", "-sc"),
)
_VALUED = (("--cfg", "-c"), ("--package", "-p"), ("--config-dir", "-cd"), ("--info", "-i"))
_SWITCH_FLAGS = {flag for flags in _SWITCHES for flag in flags}
_INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
