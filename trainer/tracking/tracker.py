"""The base class of trackers: views of a run in another program, chosen by ``tracking=<name>``.

A package adds one with a class, a file ``conf/tracking/<name>.yaml`` and a line of entry points in the group
``trainer.trackers``. It then runs beside a training, in a process of its own, and ``replay <run> sink=<name>``
brings it up to date afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from trainer.core import plugins
from trainer.core.errors import ConfigError, NetworkError
from trainer.runs.events.sink import Cursor, Sink, cursor_file, sync
from trainer.runs.run import Run
from trainer.schema import Tracking

GROUP = "trainer.trackers"


class Tracker(Sink):
    """A sink over the event log of one run that a process of its own feeds.

    A subclass says how events get into the other program (:meth:`tell`) and, where it must remember more than how far
    it has read, names its own cursor class. Reading the log, trying again, one process at a time and noting progress
    is done by :mod:`trainer.runs.events.sink`. Progress is noted after :meth:`tell`, so after a kill the same events
    come again: reporting them twice must change nothing.

    Args:
        run: the run.
        uri: another server than the run's own; only where :attr:`takes_uri` is true.

    Example:
        >>> class LossFile(Tracker):
        ...     name = "lossfile"
        ...     def tell(self, events):
        ...         with (self.run.dir / "loss.txt").open("a") as file:
        ...             for event in events:
        ...                 if event["type"] == "epoch":
        ...                     print(event["epoch"], event["losses"]["loss"], file=file)
        >>> LossFile.takes_uri
        False
    """

    name: str
    """The name that it is registered under; its cursor is the run's ``sinks/<name>.json``."""
    cursor_class: ClassVar[type[Cursor]] = Cursor
    takes_uri: ClassVar[bool] = False
    """Whether ``replay`` may name another server."""

    def __init__(self, run: Run, uri: str | None = None) -> None:
        super().__init__(run)
        self.cursor = self.cursor_class.load(cursor_file(run.dir, self.name)) or self.cursor_class()

    @classmethod
    def prepare(
        cls, run: Run, tracking: Tracking, output_dir: str | Path, experiment: str | None = None
    ) -> dict[str, str]:
        """Note the settings of a run that is about to be tracked. Called in the training's process.

        Args:
            run: the run, whose directory exists.
            tracking: the settings ``tracking.*``.
            output_dir: the folder of all runs.
            experiment: the experiment's name where ``tracking`` has none.

        Returns:
            Variables for the environment of the tracker's process: everybody can read a command line, so passwords
            belong here.

        Raises:
            ConfigError: a setting that the tracker can't work with.
        """
        return {}

    @classmethod
    def facts(cls, run_dir: Path) -> dict[str, Any]:
        """What ``run.json`` and ``result.json`` should hold about the tracked run, such as its id on the server."""
        return {}

    @classmethod
    def compare_command(cls, tracking: Tracking, output_dir: str | Path) -> str | None:
        """The command or the page that compares the runs; None where there is none."""
        return None

    @property
    def destination(self) -> str:
        """Where the events go, for messages."""
        return self.name

    @property
    def summary(self) -> str:
        """One line that says where the run is to be seen, once all of it has been reported."""
        return f"{self.destination} has all of run {self.run.id}"


def tracker_class(name: str) -> type[Tracker]:
    """The tracker of that name, imported now.

    Raises:
        ConfigError: there is no such tracker, or it can't be used.
    """
    entry = plugins.find(GROUP, name)
    loaded = entry.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Tracker)):
        raise ConfigError(
            f"{name}: {entry.source} names {entry.value}, which is no subclass of {Tracker.__module__}.Tracker"
        )
    return loaded


def tracker_names(tracking: Tracking) -> list[str]:
    """The trackers that run beside a training with these settings."""
    names = [] if tracking.name == "none" else [tracking.name]
    if tracking.tensorboard and "tensorboard" not in names:
        names.append("tensorboard")
    return names


def replay(name: str, run: Run, uri: str | None = None, patience: float = 20.0) -> str:
    """Report to a tracker what the event log of a run says and it doesn't know yet.

    Args:
        name: the tracker.
        run: the run, which may have ended long ago.
        uri: another server than the run's own.
        patience: seconds to wait for a server that doesn't answer.

    Returns:
        One line that says where the run is to be seen.

    Raises:
        ConfigError: there is no such tracker, or it takes no ``uri``.
        NetworkError: it doesn't have all of the run.
        ResourceError: another process is reporting this run to it.
    """
    kind = tracker_class(name)
    if uri and not kind.takes_uri:
        raise ConfigError(f"sink={name} takes no uri: uri is for sink=mlflow and other sinks with a server")
    tracker = kind(run, uri) if uri else kind(run)
    cursor = sync(tracker, patience)
    if cursor.error:
        raise NetworkError(f"{tracker.destination} doesn't have all of this run: {cursor.error}")
    return tracker.summary


def compare_command(tracking: Tracking, output_dir: str | Path) -> str | None:
    """The command or the page that compares the runs of these settings; None where there is none."""
    commands = (tracker_class(name).compare_command(tracking, output_dir) for name in tracker_names(tracking))
    return next((command for command in commands if command), None)
