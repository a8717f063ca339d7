"""A grid's trials in a file of JSON lines: a store that needs no Optuna.

Each line is an operation; what a trial is now follows from all of them. Lines are written under a lock that a kill
frees, reach the disk before anybody builds on them, and one torn by a kill is cut off by the next writer.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.locks import LockHeld, locked
from trainer.sweep.stores.trial_store import COMPLETE, PRUNED, RUNNING, StoreDown, TrialGone, TrialRecord

LOCK_SECONDS = 30.0


class JournalGridStore:
    """The journal of one sweep, and what it says."""

    needs_values = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._records: dict[int, TrialRecord] = {}
        self._numbers: dict[str, int] = {}

    def trials(self) -> list[TrialRecord]:
        self._catch_up()
        return list(self._records.values())

    def ask(self, notes: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> TrialRecord:
        token = secrets.token_hex(8)
        with self._changing():
            self._say(op="begin", token=token, params=dict(params or {}), notes=dict(notes))
        return self._records[self._numbers[token]]

    def take(self, number: int, notes: Mapping[str, Any]) -> TrialRecord:
        self.note(number, notes)
        return self._records[number]

    def note(self, number: int, notes: Mapping[str, Any]) -> None:
        with self._changing():
            self._running(number)
            self._say(op="note", number=number, notes=dict(notes))

    def report(self, number: int, step: int, value: float) -> bool:
        with self._changing():
            if step not in self._running(number).reported:
                self._say(op="report", number=number, step=step, value=value)
        return False

    def finish(
        self,
        number: int,
        state: str,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> bool:
        with self._changing():
            try:
                self._running(number)
            except TrialGone:
                return False
            told = None if values is None else list(values)
            self._say(op="end", number=number, state=state, values=told, constraints=dict(constraints or {}))
        return True

    def infeasible(self, number: int, name: str) -> bool:
        return self.finish(number, PRUNED, constraints={name: 1.0})

    def about(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._description.read_bytes()))
        except FileNotFoundError:
            return {}

    def describe(self, about: Mapping[str, Any]) -> None:
        atomic_write(self._description, json.dumps(dict(about), default=str))

    def close(self) -> None:
        pass

    @property
    def _description(self) -> Path:
        return self.path.with_suffix(".about")

    def _running(self, number: int) -> TrialRecord:
        if self._records[number].state != RUNNING:
            raise TrialGone
        return self._records[number]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with journal_lock(self.path):
            self._catch_up()
            yield
            self._catch_up()

    def _say(self, **operation: Any) -> None:
        line = json.dumps({**operation, "time": time.time()}, ensure_ascii=False, default=str)
        append(self.path, line.encode() + b"\n")

    def _catch_up(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    self._apply(json.loads(line))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreDown(f"{self.path} can't be read: {error}") from error

    def _apply(self, said: dict[str, Any]) -> None:
        kind = said["op"]
        if kind == "begin":
            # By the order of the lines, which is the same for all who read it.
            number = self._numbers[said["token"]] = len(self._records)
            self._records[number] = TrialRecord(
                number, RUNNING, said["params"], notes=said["notes"], started=said["time"]
            )
            return
        number = int(said["number"])
        record = self._records[number]
        if record.state != RUNNING:
            return  # somebody was faster
        if kind == "note":
            record = replace(record, notes={**record.notes, **said["notes"]})
        elif kind == "report":
            record = replace(record, reported={**record.reported, int(said["step"]): said["value"]})
        else:
            values = None if said["values"] is None else tuple(said["values"])
            if said["state"] == PRUNED and record.reported:
                values = (record.reported[max(record.reported)],)
            record = replace(
                record,
                state=said["state"],
                values=values if said["state"] in (COMPLETE, PRUNED) else None,
                constraints=said["constraints"],
                ended=said["time"],
            )
        self._records[number] = record


@contextmanager
def journal_lock(path: Path) -> Iterator[None]:
    """Keep others from writing to a journal.

    Raises:
        StoreDown: somebody holds it for half a minute.
    """
    try:
        with locked(path.with_name(f"{path.name}.writer"), LOCK_SECONDS):
            yield
    except LockHeld as other:
        raise StoreDown(f"{path}: {other} has been writing to it for {LOCK_SECONDS:.0f} s") from None


def append(path: Path, lines: bytes) -> None:
    """Add whole lines to a journal, under its lock; a last line that a kill has torn goes before."""
    try:
        with path.open("a+b") as file:
            cut_torn(path)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreDown(f"{path} can't be written: {error}") from error


def cut_torn(path: Path) -> None:
    """Cut off what follows the last newline of a file."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep, tail = size, b""
        while keep > 0:
            step = min(4096, keep)
            file.seek(keep - step)
            tail = file.read(step)
            newline = tail.rfind(b"\n")
            if newline >= 0:
                keep = keep - step + newline + 1
                break
            keep -= step
        if keep < size:
            file.truncate(keep)
