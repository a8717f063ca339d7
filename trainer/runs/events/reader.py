"""Reading an event log that may still be written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def read(path: str | Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """The events from byte ``offset`` on, each with the offset of the one after it.

    A last line without its newline is being written (or was torn by a kill) and is left for the next call. A
    whole line that isn't a JSON object is skipped: one damaged line must not hide the rest. A missing file
    has no events.
    """
    path = Path(path)
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            event = parse(line)
            if event is not None:
                yield event, offset


def events(path: str | Path) -> Iterator[Event]:
    """All whole events of a log."""
    return (event for event, _ in read(path))


def parse(line: bytes) -> Event | None:
    """One line as an event, or None when it isn't one."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "type" in event else None
