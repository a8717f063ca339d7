"""What a job was started with: the command line, the environment and ``.env``, by the precedence of each script.

``train.py`` lets the command line win over the environment; ``predict.py``, ``export.py`` and ``evaluate.py`` the
environment over the command line. ``.env`` never replaces a variable. An empty value is none.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer.core.errors import ConfigError, did_you_mean
from trainer.core.secrets import mask_urls

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
API_PATH = "/api/v1"
# The command line's options of each script, and the variable that each stands for.
OPTIONS: dict[str, dict[str, str]] = {
    "train": {
        "--job-id": "JOB_ID",
        "--model-name": "MODEL_NAME",
        "--dataset-s3-uri": "DATASET_S3_URI",
    },
    "predict": {
        "--inference-job-id": "INFERENCE_JOB_ID",
        "--training-job-id": "TRAINING_JOB_ID",
        "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
        "--images-s3-uri": "IMAGES_S3_URI",
    },
    "export": {
        "--export-job-id": "EXPORT_JOB_ID",
        "--training-job-id": "TRAINING_JOB_ID",
        "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
        "--export-format": "EXPORT_FORMAT",
    },
    "evaluate": {
        "--test-run-id": "TEST_RUN_ID",
        "--training-job-id": "TRAINING_JOB_ID",
        "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
        "--dataset-s3-uri": "DATASET_S3_URI",
    },
}
SHARED_OPTIONS = {"--callback-url": "CALLBACK_URL", "--config": "--config", "--config-file": "--config-file"}
# A variable's other names, of the trainer's own interface; the first that is set counts.
ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {},
    "predict": {
        "INFERENCE_JOB_ID": ("JOB_ID",),
        "CHECKPOINT_S3_URI": ("CHECKPOINT_PATH",),
        "IMAGES_S3_URI": ("IMAGES_PATH",),
    },
    "export": {
        "EXPORT_JOB_ID": ("JOB_ID",),
        "CHECKPOINT_S3_URI": ("CHECKPOINT_PATH",),
        "CONFIG": ("EXPORT_CONFIG",),
    },
    "evaluate": {
        "TEST_RUN_ID": ("JOB_ID",),
        "CHECKPOINT_S3_URI": ("CHECKPOINT_PATH",),
    },
}
JOB_IDS = {
    "train": "JOB_ID",
    "predict": "INFERENCE_JOB_ID",
    "export": "EXPORT_JOB_ID",
    "evaluate": "TEST_RUN_ID",
}


@dataclass(frozen=True)
class Given:
    """A value and where it comes from: a variable's name, an option, ``NAME in .env``."""

    value: str
    source: str


@dataclass
class Variables:
    """What one script was started with.

    Attributes:
        kind: train, predict, export or evaluate.
        environment: variables by name, those of ``.env`` among them.
        options: the command line's values by the variable (or ``--config``) that each stands for.
        dotenv: names of the variables that only ``.env`` has, and its path.
    """

    kind: str
    environment: Mapping[str, str]
    options: dict[str, Given] = field(default_factory=dict)
    dotenv: dict[str, Path] = field(default_factory=dict)
    log_level: str = "INFO"

    def get(self, name: str, *more: str) -> Given | None:
        """A variable that is set, by its name, its aliases or ``more`` names; None where there is none."""
        names = (name, *ALIASES[self.kind].get(name, ()), *more)
        typed = next((self.options[one] for one in names if one in self.options), None)
        stored = next((found for one in names if (found := self._stored(one))), None)
        return (typed or stored) if self.kind == "train" else (stored or typed)

    def text(self, name: str, *more: str) -> str:
        """The value as :meth:`get` finds it; empty where there is none."""
        given = self.get(name, *more)
        return given.value if given else ""

    def config(self) -> tuple[dict[str, Any], str]:
        """``CONFIG`` and its source; ``{}`` where there is none.

        train: ``--config-file``, ``--config``, ``CONFIG``; the others: ``CONFIG``, ``--config-file``, ``--config``.

        Raises:
            ConfigError: it is no JSON object, or the file can't be read.
        """
        stored = next(
            (
                found
                for one in ("CONFIG", *ALIASES[self.kind].get("CONFIG", ()))
                if (found := self._stored(one))
            ),
            None,
        )
        typed = self.options.get("--config-file") or self.options.get("--config")
        given = (typed or stored) if self.kind == "train" else (stored or typed)
        if given is None:
            return {}, "CONFIG"
        text = _read(given) if given.source == "--config-file" else given.value
        return json_object(text, given.source), given.source

    def job_id(self) -> int:
        """The job's number.

        Raises:
            ConfigError: it is missing or no whole number.
        """
        name = JOB_IDS[self.kind]
        given = self.get(name)
        if given is None:
            raise ConfigError(f"{self.named(name)} is missing: the job's number")
        number = given.value.strip()
        if not number.isascii() or not number.isdecimal():
            raise ConfigError(f"{given.source}={given.value!r}: expected the job's number, such as 42")
        return int(number)

    def callback_url(self) -> str:
        """Where callbacks go, without a slash at the end; ``/api/v1`` is added to an address without a path.

        Raises:
            ConfigError: it is missing or no http address.
        """
        given = self.get("CALLBACK_URL")
        if given is None:
            raise ConfigError(
                f"{self.named('CALLBACK_URL')} is missing: the backend's address, such as http://backend:8000/api/v1"
            )
        return callback_url(given)

    def named(self, name: str) -> str:
        """A variable's name with its option and aliases, for messages."""
        known = {**OPTIONS[self.kind], **SHARED_OPTIONS}
        others = [
            *ALIASES[self.kind].get(name, ()),
            *(option for option, one in known.items() if one == name),
        ]
        return f"{name} (or {', '.join(others)})" if others else name

    def _stored(self, name: str) -> Given | None:
        value = self.environment.get(name, "").strip()
        return (
            Given(value, f"{name} in {self.dotenv[name].name}" if name in self.dotenv else name)
            if value
            else None
        )


def read(
    kind: str, argv: Sequence[str], environment: Mapping[str, str], folders: Iterable[Path] = ()
) -> Variables:
    """The variables of a script.

    Args:
        argv: the words after the script's name.
        environment: the process's variables.
        folders: where ``.env`` is looked for; the first one is taken.

    Raises:
        ConfigError: an option that the script doesn't have.
    """
    args = _parse(kind, argv)
    dotenv = _dotenv(folders)
    added = {name: value for name, value in dotenv[1].items() if name not in environment} if dotenv else {}
    variables = Variables(
        kind, {**environment, **added}, dotenv=dict.fromkeys(added, dotenv[0]) if dotenv else {}
    )
    for option, name in {**OPTIONS[kind], **SHARED_OPTIONS}.items():
        value = getattr(args, option.lstrip("-").replace("-", "_"))
        if value is not None and value.strip():
            variables.options[name] = Given(value.strip(), option)
    level = (args.log_level or variables.text("LOG_LEVEL") or "INFO").upper()
    if level not in LOG_LEVELS:
        raise ConfigError(f"--log-level {level}: expected one of {', '.join(LOG_LEVELS)}")
    variables.log_level = level
    return variables


def callback_url(given: Given) -> str:
    """A callback address as it is used. Raises ConfigError."""
    url = given.value.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme.lower() not in ("http", "https") or not host:
        raise ConfigError(
            f"{given.source}={mask_urls(given.value)!r}: expected an address such as http://backend:8000/api/v1"
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"{given.source}: an address without ?query and #fragment is expected")
    return url if parts.path else f"{url}{API_PATH}"


def json_object(text: str, source: str) -> dict[str, Any]:
    """A JSON object; ConfigError names ``source`` otherwise. NaN and infinity are no JSON."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ConfigError(f"{source} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a JSON object, got {type(content).__name__}")
    return content


def as_number(text: str) -> float | None:
    """A finite number in a text, else None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse(kind: str, argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        f"{kind}.py",
        allow_abbrev=False,
        description=f"Run a {kind} job of the platform: see docs/platform.md for the variables that it reads.",
    )
    options = [*OPTIONS[kind], *SHARED_OPTIONS, "--log-level"]

    def refuse(message: str) -> Any:
        word = message.rpartition(": ")[2].split()[0].partition("=")[0] if ": " in message else ""
        hint = did_you_mean(word, options) if word.startswith("-") else ""
        raise ConfigError(f"{kind}.py: {message}.{hint} {kind}.py --help lists the options.")

    parser.error = refuse  # type: ignore[method-assign]
    for option, name in {**OPTIONS[kind], **SHARED_OPTIONS}.items():
        parser.add_argument(option, help=_HELP.get(option, f"as the variable {name}"))
    parser.add_argument("--log-level", help=f"how much this script says: {', '.join(LOG_LEVELS)}")
    return parser.parse_args(list(argv))


def _dotenv(folders: Iterable[Path]) -> tuple[Path, dict[str, str]] | None:
    for folder in folders:
        path = folder / ".env"
        try:
            readable = path.is_file() and os.access(path, os.R_OK)
        except OSError:
            continue
        if readable:
            from dotenv import dotenv_values

            return path, {name: value for name, value in dotenv_values(path).items() if value is not None}
    return None


def _read(given: Given) -> str:
    try:
        return Path(given.value).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{given.source} {given.value}: can't be read: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_HELP = {
    "--config": "settings as JSON, as the variable CONFIG",
    "--config-file": "a file with the settings as JSON",
}
