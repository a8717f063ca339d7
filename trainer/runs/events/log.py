"""The append-only log of a run: emitting costs the training thread one enqueue."""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.core.secrets import mask_strings
from trainer.runs.events import schema
from trainer.runs.events.reader import Event, parse

logger = logging.getLogger("trainer")

Listener = Callable[[Event], None]
FLUSH_SECONDS = 1.0
WRITE_BYTES = 64 * 1024
# Names and figures only, and many of them: nothing in them is looked through for secrets.
FIGURES = ("train", "epoch", "validation", "system")
# What may wait for a full disk to have room again.
WAITING_BYTES = 64 * 1024 * 1024


class EventLog:
    """Writes events as JSON lines on one thread of its own and tells them to listeners on another.

    Lines reach the operating system within a second of :meth:`emit`, and the disk with every checkpoint, on
    :meth:`flush` and on :meth:`close`. A line torn by a kill is cut off when the log is opened again. A listener
    that is stuck holds up neither the training nor the file; one that raises is dropped with a message in the log
    file. While the disk is full, lines wait in memory. Secrets are masked.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._seq = _repair(self.path)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._queue: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._to_tell: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._size = os.fstat(self._file).st_size
        self._waiting = bytearray()
        self._warned = False
        self._closed = False
        self._threads = [
            threading.Thread(target=self._write_all, name="event-log", daemon=True),
            threading.Thread(target=self._tell_all, name="event-listeners", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called, on the listeners' thread, with each event from now on."""
        self._listeners.append(listener)

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Append an event; returns at once. The values must not be changed afterwards.

        Raises:
            ValueError: ``kind`` or a field isn't in the vocabulary.
        """
        schema.check_event(kind, fields)
        with self._lock:  # number and place in the queue must agree
            if self._closed:
                return
            self._seq += 1
            self._queue.put(
                {"v": schema.VERSION, "seq": self._seq, "time": time.time(), "type": kind, **fields}
            )

    @property
    def cursor(self) -> int:
        """The number of the newest event."""
        return self._seq

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was emitted is on disk; False after ``timeout``."""
        if self._closed or not self._threads[0].is_alive():
            return self._closed
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write and tell what is queued, and stop. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _write_all(self) -> None:
        flush_at = math.inf
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, min(FLUSH_SECONDS, flush_at - time.monotonic())))
            except queue.Empty:
                self._sync(disk=False)
                flush_at = math.inf
                continue
            if item is None:
                break
            if isinstance(item, threading.Event):
                self._sync(disk=True)
                item.set()
                continue
            if item["type"] not in FIGURES:
                item = mask_strings(item)
            self._write(item)
            flush_at = min(flush_at, time.monotonic() + FLUSH_SECONDS)
            self._to_tell.put(item)
        self._sync(disk=True)
        self._to_tell.put(None)
        os.close(self._file)

    def _write(self, event: Event) -> None:
        if len(self._waiting) > WAITING_BYTES:
            return
        self._waiting += encode(event)
        if event["type"] in schema.SYNCED:
            self._sync(disk=True)
        elif len(self._waiting) > WRITE_BYTES and not self._warned:
            self._sync(disk=False)

    def _sync(self, disk: bool) -> None:
        """Write what waits: all of it, or, when the disk refuses, none of it."""
        try:
            with memoryview(self._waiting) as lines:
                written = 0
                while written < len(lines):
                    written += os.write(self._file, lines[written:])
            self._size += written
            self._waiting.clear()
            if disk:
                os.fsync(self._file)
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        with suppress(OSError):  # where even that fails a torn line stays; readers skip it
            os.ftruncate(self._file, self._size)
        if not self._warned:
            self._warned = True
            logger.error(
                "%s can't be written (%s); training goes on, events wait in memory", self.path, error
            )

    def _tell_all(self) -> None:
        while (event := self._to_tell.get()) is not None:
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception:
                    self._listeners.remove(listener)
                    logger.exception("a listener of the event log failed and is not called again")


class NullEventLog(EventLog):
    """The log of every process of a training but the first: takes everything and keeps nothing."""

    def __init__(self) -> None:
        self._closed = False
        self._seq = 0

    def listen(self, listener: Listener) -> None:
        pass

    def emit(self, kind: str, /, **fields: Any) -> None:
        schema.check_event(kind, fields)

    def flush(self, timeout: float = 10.0) -> bool:
        return True

    def close(self, timeout: float = 10.0) -> None:
        pass


def encode(event: Event) -> bytes:
    """An event as one JSON line; numbers that JSON doesn't know (NaN, infinity) become null."""
    return json.dumps(_finite(event), ensure_ascii=False, allow_nan=False, default=str).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _repair(path: Path) -> int:
    """Cut off a torn last line and give the last event's number, 0 for a new log."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        tail, start = b"", size
        # Backwards in blocks, until the block holds a whole line that can be read.
        while start > 0:
            step = min(64 * 1024, start)
            start -= step
            file.seek(start)
            tail = file.read(step) + tail
            lines = tail.split(b"\n")
            whole = lines[:-1] if start == 0 else lines[1:-1]
            for line in reversed(whole):
                event = parse(line)
                if event is not None:
                    file.truncate(size - len(lines[-1]))
                    return int(event.get("seq", 0))
        file.truncate(size - len(tail.split(b"\n")[-1]))
        return 0
