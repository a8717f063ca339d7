"""The base class of callbacks: a service outside that hears about a run, chosen by ``callback=<name>``.

A package adds one with a class, a dataclass of its settings, a file ``conf/callback/<name>.yaml`` and a line of
entry points in the group ``trainer.callbacks``; ``callback=platform`` is one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from trainer.core.errors import ConfigError
from trainer.runs.run import Run


class CallbackHandle(ABC):
    """A callback at work beside a training."""

    @abstractmethod
    def wait(self, stopped: bool) -> str | None:
        """Wait until the service knows how the run ended, or the time for that is over.

        Args:
            stopped: a signal ended the run, and its process must end soon.

        Returns:
            What the service doesn't know, as a message for people; None when it knows everything.
        """


class RunCallback(ABC):
    """Reports runs to one kind of service. Instances are made without arguments and hold no state.

    Everything a callback reports should come from the run's event log (see :mod:`trainer.runs.events.sink`), read by
    a process of its own: training must not wait for a service, and a run can be reported later.

    Example:
        A callback that writes a file when a run starts and checks it at the end:

        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class FileConfig:
        ...     name: str = "file"
        ...     path: str = ""
        >>> class FileHandle(CallbackHandle):
        ...     def wait(self, stopped):
        ...         return None
        >>> class FileCallback(RunCallback):
        ...     config_class = FileConfig
        ...     def check(self, config):
        ...         if not config.path:
        ...             raise ValueError("callback.path is missing")
        ...     def start(self, run, config):
        ...         with open(config.path, "w") as file:
        ...             file.write(f"{run.id} started")
        ...         return FileHandle()
        >>> FileCallback().check(FileConfig(path="started.txt"))
    """

    config_class: ClassVar[type]
    """The dataclass of ``callback.*``: fields with defaults, ``name`` among them."""

    def check(self, config: Any) -> None:  # noqa: B027  not every callback can be set up wrongly
        """Find mistakes in the settings. Called before the data are looked at.

        Raises:
            ConfigError: a setting is missing or wrong.
        """

    @abstractmethod
    def start(self, run: Run, config: Any) -> CallbackHandle:
        """Start reporting a run. Called in the training's process, before torch is imported.

        Args:
            run: the run, whose directory exists.
            config: an object with the fields of :attr:`config_class`.

        Raises:
            TrainerError: it can't be started, so the training doesn't start either.
        """

    def replay(self, run: Run, uri: str | None, patience: float) -> str:
        """Report what the event log of a run says and the service doesn't know yet: ``replay <run> sink=<name>``.

        Args:
            run: the run, which may have ended long ago.
            uri: another address of the service than the run's own.
            patience: seconds to wait for a service that doesn't answer.

        Returns:
            One line that says where the service stands now.

        Raises:
            ConfigError: the run was never reported to such a service, or this callback can't replay.
            NetworkError: the service doesn't know all of the run.
        """
        raise ConfigError(f"{type(self).__name__} can't report a run afterwards")
