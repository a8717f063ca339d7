"""What is said becomes events: ours all, others' warnings."""

from __future__ import annotations

import logging
from pathlib import Path

from trainer.runs.events import logging_handler, reader
from trainer.runs.events.log import EventLog
from trainer.runs.events.logging_handler import EventLogHandler


def test_ours_and_the_warnings_of_others(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(logging_handler, "MOST", 4)
    with EventLog(tmp_path / "e") as log:
        handler = EventLogHandler(log)
        for name, level, message in (
            ("trainer", logging.INFO, "ready"),
            ("trainer", logging.DEBUG, "detail"),
            ("mmengine", logging.INFO, "chatter"),
            ("mmengine", logging.WARNING, "at https://me:hunter2222@host"),
            ("trainer.data", logging.ERROR, "x" * 5000),
            ("trainer", logging.INFO, "the fourth"),
            ("trainer", logging.INFO, "one too many"),
        ):
            logger = logging.Logger(name)
            logger.addHandler(handler)
            logger.log(level, message)
    found = [(event["level"], event["logger"], event["message"]) for event in reader.events(tmp_path / "e")]
    assert found == [
        ("INFO", "trainer", "ready"),
        ("WARNING", "mmengine", "at https://***@host"),
        ("ERROR", "trainer.data", "x" * logging_handler.LENGTH),
        ("INFO", "trainer", "the fourth"),
    ]
