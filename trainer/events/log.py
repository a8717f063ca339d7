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
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from trainer.events import vocabulary
from trainer.events.reader import Event, parse

logger = logging.getLogger("trainer")

Listener = Callable[[Event], None]
FLUSH_SECONDS = 1.0


class EventLog:
    """Writes events as JSON lines and hands them to listeners, all on one thread of its own.

    Lines reach the operating system within a second of :meth:`emit`, and the disk on :meth:`flush` and
    :meth:`close`. A line torn by a kill is cut off when the log is opened again. A listener that raises is
    dropped with a message in the log file; a full disk stops the writing, never the training.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._seq = _repair(self.path)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._queue: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._file: IO[bytes] | None = self.path.open("ab")
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="event-log", daemon=True)
        self._thread.start()

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called, on the writer's thread, with each event from now on."""
        self._listeners.append(listener)

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Append an event; returns at once. The values must not be changed afterwards.

        Raises:
            ValueError: ``kind`` isn't in the vocabulary.
        """
        vocabulary.check(kind)
        with self._lock:  # number and place in the queue must agree
            if self._closed:
                return
            self._seq += 1
            self._queue.put(
                {"v": vocabulary.VERSION, "seq": self._seq, "time": time.time(), "type": kind, **fields}
            )

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was emitted is on disk and told to the listeners; False after ``timeout``."""
        if self._closed or not self._thread.is_alive():
            return self._closed
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout)

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
            self._write(item)
            flush_at = min(flush_at, time.monotonic() + FLUSH_SECONDS)
            self._tell(item)
        self._sync(disk=True)
        if self._file is not None:
            self._file.close()

    def _write(self, event: Event) -> None:
        if self._file is None:
            return
        try:
            self._file.write(encode(event))
            if event["type"] in vocabulary.LAST_WORDS:
                self._sync(disk=True)
        except OSError as error:
            self._give_up(error)

    def _sync(self, disk: bool) -> None:
        if self._file is None:
            return
        try:
            self._file.flush()
            if disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.error("%s can't be written any more (%s); training goes on without it", self.path, error)
        self._file = None

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("a listener of the event log failed and is not called again")
                self._listeners.remove(listener)


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
