"""What the sink remembers of a job: ``sinks/platform.json`` in the run directory, and whether it must be silent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError
from trainer.platform.settings.environment_variables import Given, callback_url
from trainer.runs.events.sink import Cursor, cursor_file
from trainer.runs.run import Run
from trainer.schema import Callback, PlatformCallback

NAME = "platform"
ENVIRONMENT = "TRAINER_CALLBACK_URL"
"""Where the sink's process finds the address with its password, if it has one."""
STORE_VARIABLES = ("INTERNAL_STORAGE_ENDPOINT", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID")


@dataclass
class PlatformSinkState(Cursor):
    """The job and its settings, and what has been uploaded. Holds no credentials.

    Attributes:
        address: the callback address without user and password.
        since: when this attempt began; last words before it are an earlier one's.
        upload: whether checkpoints go to the results store.
        uploaded: which content of each file is there.
        links: name -> URI of what is there.
    """

    address: str = ""
    job_id: int = 0
    max_retries: int = 3
    retry_delay: float = 2.0
    interval: int = 1
    flush_seconds: float = 60.0
    since: float = 0.0
    upload: bool = False
    uploaded: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, callback: Callback, environment: Mapping[str, str] = os.environ) -> PlatformSinkState:
        """The state of a job that nobody has been told about.

        Raises:
            ConfigError: an address or the job's number is missing or wrong.
        """
        missing = [f"callback.{name}" for name in ("url", "job_id") if getattr(callback, name) is None]
        if missing:
            example = {"callback.url": "http://backend:8000/api/v1", "callback.job_id": "42"}
            words = " ".join(f"{name}={example[name]}" for name in missing)
            raise ConfigError(
                f"callback=platform: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: {words}"
            )
        upload = callback.upload
        if upload is None:
            upload = any(environment.get(name) for name in STORE_VARIABLES)
        return cls(
            address=without_credentials(callback_url(Given(str(callback.url), "callback.url"))),
            job_id=int(callback.job_id or 0),
            max_retries=callback.max_retries,
            retry_delay=callback.retry_delay,
            interval=callback.interval,
            flush_seconds=callback.flush_seconds,
            upload=upload,
        )

    @property
    def full_address(self) -> str:
        """The address with the user and password that the environment has for it, if any."""
        for name in (ENVIRONMENT, "CALLBACK_URL"):
            with suppress(ConfigError):
                address = callback_url(Given(os.environ.get(name, ""), name))
                if without_credentials(address) == self.address:
                    return address
        return self.address


def load(run: Run, uri: str | None = None) -> PlatformSinkState:
    """The state of a run's job: as it was left, or from its configuration.

    Args:
        uri: another callback address.

    Raises:
        ConfigError: the run is no job of a platform.
    """
    state = PlatformSinkState.load(cursor_file(run.dir, NAME))
    if state is None or not state.address:
        state = PlatformSinkState.of(_configured(run, uri))
    if uri is not None:
        state.address = without_credentials(callback_url(Given(uri, "uri")))
        os.environ[ENVIRONMENT] = uri
    return state


def save(run: Run, state: PlatformSinkState) -> None:
    state.save(cursor_file(run.dir, NAME))


def folder(run_dir: Path) -> Path:
    """Where the outbox is."""
    return run_dir / "sinks" / NAME


def silence(run_dir: str | Path) -> None:
    """Have nothing more sent about this run, from this moment on: its job was cancelled. What waits stays in the
    outbox, for an attempt that goes on."""
    atomic_write(_marker(Path(run_dir)), "")


def speak(run_dir: Path) -> None:
    """An attempt begins: the silence after the one before is over."""
    _marker(run_dir).unlink(missing_ok=True)


def is_silent(run_dir: Path) -> bool:
    return _marker(run_dir).exists()


def without_credentials(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _marker(run_dir: Path) -> Path:
    return run_dir / "sinks" / f"{NAME}.silent"


def _configured(run: Run, uri: str | None) -> PlatformCallback:
    try:
        saved: dict[str, Any] = yaml.safe_load((run.dir / "config.yaml").read_text())["callback"]
        chosen = saved["name"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        chosen = None
    if chosen != NAME:
        raise ConfigError(
            f"{run.dir} is no job of a platform: it was trained without callback=platform callback.job_id=..."
        )
    known = PlatformCallback.__dataclass_fields__
    callback = PlatformCallback(**{key: value for key, value in saved.items() if key in known})
    callback.url = uri or callback.url
    return callback
