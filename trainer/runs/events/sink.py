"""A view of a run that is made from its event log, along with the run or afterwards.

A sink has a name and a cursor, ``sinks/<name>.json`` in the run directory: how far it has read, and what it must
remember. It can be stopped, killed and brought up to date at any time. Progress is noted after the telling, so what
is told around a kill is told twice: a sink's effects must be such that saying the same again changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ResourceError
from trainer.core.locks import LockHeld, locked
from trainer.core.processes import ProcessIdentity
from trainer.core.secrets import mask_text
from trainer.runs.events.reader import Event, read
from trainer.runs.events.schema import LAST_WORDS
from trainer.runs.run import Run

logger = logging.getLogger("trainer")

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
LONGEST_PAUSE = 5.0
BATCH_EVENTS = 500
# A training writes to its log every few seconds; see trainer.runs.events.system_metrics.
QUIET_SECONDS = 60.0

C = TypeVar("C", bound="Cursor")


@dataclass
class Cursor:
    """What a sink remembers. Sinks add fields; those that JSON can say, and no credentials.

    Attributes:
        offset: bytes of the event log that have been told.
        line: where the last line of them begins.
        line_time: the time of its event.
        error: why the last attempt didn't get through, None when all is well.
    """

    offset: int = 0
    line: int = 0
    line_time: float | None = None
    error: str | None = None

    @classmethod
    def load(cls: type[C], path: Path) -> C | None:
        """The cursor in a file; None when there is none or it is damaged (then all is told again)."""
        try:
            values = json.loads(path.read_text())
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def save(self, path: Path) -> None:
        atomic_write(path, json.dumps(asdict(self), indent=2) + "\n")


class Sink(ABC):
    """What a kind of view does with the events; :func:`sync` and :func:`follow` do the rest.

    Every method may raise, and is then called again after a pause, until the patience is at its end.
    """

    name: str
    cursor: Any  # a Cursor, or a class derived from it

    def __init__(self, run: Run, name: str | None = None) -> None:
        self.run = run
        self.name = name or self.name

    @property
    def file(self) -> Path:
        return cursor_file(self.run.dir, self.name)

    def open(self) -> None:  # noqa: B027  not every sink has something to do here
        """Called before each reading of the log: connect, if that hasn't been done."""

    @abstractmethod
    def tell(self, events: Sequence[Event]) -> None:
        """Tell these, in order. Whatever else the cursor holds must change only when all of it is told."""

    def beat(self) -> str | None:
        """Called once a second while following; gives what isn't as it should be, if anything."""
        return None

    def finish(self, gone: bool) -> None:  # noqa: B027
        """Called when all is told; ``gone``: the process ended without a last word."""

    def rewind(self) -> None:
        """Begin again at the start of the log, which isn't the one that was read before."""
        self.cursor.offset = 0

    def is_final(self, error: Exception) -> bool:
        """Whether the same call would fail the same way again."""
        return False

    def words(self, error: Exception) -> str:
        """An error as it may be written down: without secrets."""
        return mask_text(f"{type(error).__name__}: {error}")

    def save(self) -> None:
        self.cursor.save(self.file)


def cursor_file(run_dir: Path, name: str) -> Path:
    return run_dir / "sinks" / f"{name}.json"


def sync(sink: Sink, patience: float = 20.0) -> Any:
    """Tell all that the log says and the sink doesn't know yet; returns the cursor, whose ``error`` says why that
    failed.

    Args:
        patience: seconds to go on trying.

    Raises:
        ResourceError: another process is at it.
    """
    return _Delivery(sink, patience).go(lambda: False, lambda: not is_running(sink.run))


def follow(sink: Sink, pid: int, after: int = 0, patience: float = PATIENCE_SECONDS) -> Any:
    """Tell of a run while it goes on; returns after its last word, or when process ``pid`` is gone.

    ``after`` is the size of the log when the process began: last words before it are an earlier attempt's.
    """
    return _Delivery(sink, patience, after).go(is_alive(pid), lambda: True)


def outlive_signals() -> None:
    """In a sink's process: what a scheduler tells all processes of a job is for the training. The sink ends once it has
    said how that ended.
    """
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):  # Windows has the first alone
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


class _Delivery:
    def __init__(self, sink: Sink, patience: float, after: int = 0) -> None:
        self.sink, self.patience, self.scanned = sink, patience, after
        self.ended = False

    def go(self, alive: Callable[[], bool], gone: Callable[[], bool]) -> Any:
        """See :func:`sync` and :func:`follow`. ``gone``: asked when ``alive`` says no and there is no last word."""
        try:
            with locked(self.sink.file.with_suffix(".lock"), self.patience):
                return self._go(alive, gone)
        except LockHeld as other:
            raise ResourceError(f"{other} is telling {self.sink.name} about this run already") from None

    def _go(self, alive: Callable[[], bool], gone: Callable[[], bool]) -> Any:
        sink = self.sink
        if not _is_the_same(sink.run.events, sink.cursor):
            sink.rewind()
        pause, deadline = 0.5, None
        while True:
            # Asked before the log is read: what was written before the end is then surely told.
            over = not alive() or self._has_ended()
            try:
                self._catch_up()
                if over:
                    sink.finish(not self._has_ended() and gone())
                    sink.save()
                    return self._note(None)
                self._note(sink.beat())
                pause, deadline = 0.5, None
                time.sleep(POLL_SECONDS)
            except Exception as error:  # whatever the other side's libraries raise
                self._note(sink.words(error))
                if sink.is_final(error):
                    return sink.cursor
                if over:
                    deadline = deadline or time.monotonic() + self.patience
                    if time.monotonic() >= deadline:
                        return sink.cursor
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _catch_up(self) -> None:
        sink = self.sink
        sink.open()
        batch: list[Event] = []
        line = offset = sink.cursor.offset
        for event, after in read(sink.run.events, offset):
            batch.append(event)
            line, offset = offset, after
            if len(batch) >= BATCH_EVENTS:
                self._tell(batch, line, offset)
                batch = []
        if batch:
            self._tell(batch, line, offset)

    def _tell(self, batch: list[Event], line: int, offset: int) -> None:
        """Progress comes last: after a kill in between it is all told again, the other way round it would be lost."""
        self.sink.tell(batch)
        cursor = self.sink.cursor
        cursor.offset, cursor.line, cursor.line_time = offset, line, batch[-1].get("time")
        self.sink.save()

    def _has_ended(self) -> bool:
        """Whether the log has this attempt's last word, told or not."""
        for event, offset in read(self.sink.run.events, self.scanned):
            self.scanned = offset
            if event["type"] in LAST_WORDS:
                self.ended = True
            elif event["type"] in ("run_started", "resumed"):
                self.ended = False
        return self.ended

    def _note(self, error: str | None) -> Any:
        cursor = self.sink.cursor
        if error != cursor.error:
            cursor.error = error
            with suppress(OSError):  # a full disk; what was told is told again then
                self.sink.save()
            if error:
                logger.warning("%s: %s", self.sink.name, error)
        return cursor


def is_running(run: Run) -> bool:
    """Whether a process works on the run, as far as can be seen from here.

    One of this machine is asked for; a training elsewhere writes to its log every few seconds.
    """
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        facts = run.facts
        attempt = facts["attempts"][-1]
        if attempt.get("ended") is not None:
            return False
        if attempt.get("host", facts.get("host", socket.gethostname())) == socket.gethostname():
            return is_alive(int(attempt["pid"]))()
    with suppress(OSError):
        return time.time() - run.events.stat().st_mtime < QUIET_SECONDS
    return False


def is_alive(pid: int) -> Callable[[], bool]:
    """Whether the process that has this id now still runs, to be asked again and again."""
    if os.name != "nt" and os.getppid() == pid:
        return lambda: os.getppid() == pid
    return ProcessIdentity.of(pid).is_running


def _is_the_same(path: Path, cursor: Cursor) -> bool:
    """Whether the log is still the one that was read: after a power cut it may be shorter, and have gone on since."""
    if cursor.offset == 0:
        return True
    for event, offset in read(path, cursor.line):
        if offset >= cursor.offset:
            return offset == cursor.offset and event.get("time") == cursor.line_time
    return False
