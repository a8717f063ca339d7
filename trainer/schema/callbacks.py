"""Who else is informed of a run: the choices of the group ``callback``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.schema.declaration import Choice, typed_field


@dataclass
class Callback(Choice):
    """What every callback has. A plug-in's callback names its own subclass as ``config_class``."""

    group: ClassVar[str] = "callback"
    name: str = typed_field("none", "who is informed of the run", kind="choice")


@dataclass
class NoCallback(Callback):
    """``callback=none``."""


@dataclass
class PlatformCallback(Callback):
    """``callback=platform``: the platform's backend."""

    name: str = typed_field("platform", "who is informed of the run", kind="choice")
    url: str | None = typed_field(None, "the callback address, http://backend:8000/api/v1")
    job_id: int | None = typed_field(None, "the platform's number of the job", ge=0)
    max_retries: int = typed_field(3, "further attempts after a failed callback", ge=0)
    retry_delay: float = typed_field(
        2.0, "seconds before the second attempt, doubled for each further one", ge=0
    )
    interval: int = typed_field(1, "epochs between two rows of metrics", ge=1)
    flush_seconds: float = typed_field(
        60.0, "seconds that the end of a run waits for a backend that doesn't answer", ge=0
    )
    upload: bool | None = typed_field(
        None, "upload checkpoints to the results store; None: where one is configured"
    )
