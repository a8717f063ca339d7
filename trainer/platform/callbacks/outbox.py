"""What the backend is to be told, on disk until it knows: a journal that a kill at any moment leaves readable.

``outbox.jsonl`` holds one JSON object a line: ``put`` (a body, in order), ``sent`` (from here on the backend may have
it), ``back`` (it surely hasn't), ``done`` (delivered, refused or no longer wanted, with why). Each body has a key that
says what it tells (``row:3``, ``validation:3:57``); a key is put once, whatever is told again after a kill.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.secrets import mask_text

FILE = "outbox.jsonl"
FAINT = ("progress",)
"""Kinds that newer progress makes superfluous: progress without metrics."""
NEWER = ("progress", "row")
APPENDS = ("row", "log", "results")
"""Kinds of which the backend adds one more each time it gets them."""
# A finished run's journal is rewritten without what is delivered when it is opened and has grown beyond this.
COMPACT_BYTES = 1 << 20


@dataclass
class OutboxEntry:
    """A body that waits.

    Attributes:
        key: what it tells, once.
        kind: ``started``, ``progress``, ``row``, ``validation``, ``log``, ``completion``, ``results``...; decides what
            is superseded and what is sent a second time.
        path: the route behind the callback address.
        sent: an attempt has begun whose end isn't known.
    """

    key: str
    kind: str
    path: str
    body: dict[str, Any]
    sent: bool = False

    @property
    def appends(self) -> bool:
        return self.kind in APPENDS


class Outbox:
    """One job's outbox; any thread of the one process that has it open may use it.

    Args:
        folder: where the journal is; made when missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._waiting: dict[str, OutboxEntry] = {}
        self._done: dict[str, str] = {}
        self._load()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.changed = threading.Event()

    def put(self, key: str, kind: str, path: str, body: dict[str, Any]) -> bool:
        """Add a body, secrets masked; False when the key is known already. On disk when this returns."""
        with self._lock:
            if key in self._done or key in self._waiting:
                return False
            if kind in NEWER:
                self._supersede(key)
            elif kind == "started":
                self._take_back(key)
            entry = OutboxEntry(key, kind, path, _masked(body))
            self._note({"do": "put", "key": key, "kind": kind, "path": path, "body": entry.body})
            self._waiting[key] = entry
            self.changed.set()
            return True

    def first(self, after: str | None = None) -> OutboxEntry | None:
        """The oldest body that waits, or the one behind ``after``."""
        with self._lock:
            keys = list(self._waiting)
            place = keys.index(after) + 1 if after in keys else 0
            return self._waiting[keys[place]] if place < len(keys) else None

    def sent(self, key: str) -> None:
        """Note that the next byte may tell the backend; on disk when this returns."""
        self._mark(key, True)

    def back(self, key: str) -> None:
        """Note that the backend surely hasn't taken it."""
        self._mark(key, False)

    def done(self, key: str, why: str = "delivered") -> None:
        """Note that nothing more is to be done about it: ``delivered``, or why not."""
        with self._lock:
            if self._waiting.pop(key, None) is not None:
                self._done[key] = why
                self._note({"do": "done", "key": key, "why": why, "time": round(time.time(), 3)})

    def adopt(self, keys: Iterable[str]) -> None:
        """Take these as delivered by an earlier process, whose journal isn't here."""
        with self._lock:
            for key in keys:
                if key not in self._done:
                    self._waiting.pop(key, None)
                    self._done[key] = "delivered before"
                    self._note({"do": "done", "key": key, "why": "delivered before"})

    def knows(self, key: str) -> bool:
        with self._lock:
            return key in self._done or key in self._waiting

    def told(self) -> list[str]:
        """The keys of what is delivered, or may be."""
        with self._lock:
            return [*self._done, *(key for key, entry in self._waiting.items() if entry.sent)]

    def __len__(self) -> int:
        """How many bodies wait."""
        with self._lock:
            return len(self._waiting)

    def waiting(self) -> list[OutboxEntry]:
        with self._lock:
            return list(self._waiting.values())

    def why(self, key: str) -> str | None:
        """What became of a body; None while it waits or was never put."""
        with self._lock:
            return self._done.get(key)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _supersede(self, by: str) -> None:
        for entry in list(self._waiting.values()):
            if entry.kind in FAINT and not entry.sent:
                self.done(entry.key, f"superseded by {by}")

    def _take_back(self, by: str) -> None:
        """How an earlier attempt ended isn't the end, since the job goes on."""
        for entry in list(self._waiting.values()):
            if entry.kind == "completion":
                self.done(entry.key, f"superseded by {by}")

    def _mark(self, key: str, sent: bool) -> None:
        with self._lock:
            entry = self._waiting.get(key)
            if entry is not None and entry.sent != sent:
                self._note({"do": "sent" if sent else "back", "key": key})
                entry.sent = sent

    def _note(self, record: dict[str, Any]) -> None:
        os.write(self._file, (json.dumps(record, ensure_ascii=False) + "\n").encode())
        os.fsync(self._file)

    def _load(self) -> None:
        """Read the journal; a line that a kill has torn is cut off."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for record in _records(content[:whole]):
            self._replay(record)
        if whole < len(content) or (whole > COMPACT_BYTES and not self._waiting):
            self._rewrite()

    def _replay(self, record: dict[str, Any]) -> None:
        key, what = record["key"], record["do"]
        if what == "put":
            self._waiting[key] = OutboxEntry(key, record["kind"], record["path"], record["body"])
        elif what == "done":
            self._waiting.pop(key, None)
            self._done[key] = str(record.get("why"))
        elif key in self._waiting:
            self._waiting[key].sent = what == "sent"

    def _rewrite(self) -> None:
        records: list[dict[str, Any]] = [
            {"do": "done", "key": key, "why": why} for key, why in self._done.items()
        ]
        for one in self._waiting.values():
            records.append(
                {"do": "put", "key": one.key, "kind": one.kind, "path": one.path, "body": one.body}
            )
            if one.sent:
                records.append({"do": "sent", "key": one.key})
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        atomic_write(self.path, text)


def _masked(value: Any) -> Any:
    """The texts of a body with secrets masked; a class may be called ``token`` and keeps its figures."""
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value


def _records(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "key" in record and "do" in record:
            yield record
