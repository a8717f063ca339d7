"""What loggers say, as ``log`` events."""

from __future__ import annotations

import logging

from trainer.core.secrets import mask_text
from trainer.runs.events.log import EventLog

LENGTH = 2000
# A run has a few dozen; a library that warns at every iteration mustn't fill the log and its sinks.
MOST = 1000


class EventLogHandler(logging.Handler):
    """Passes on what this package says, and what others warn of.

    Nothing is formatted on the way but the message itself; a traceback is in ``train.log``.
    """

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.INFO)
        self.log = log
        self._left = MOST

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.partition(".")[0] == "trainer"
        if self._left <= 0 or (record.levelno < logging.WARNING and not ours):
            return
        self._left -= 1
        try:
            message = mask_text(record.getMessage())[:LENGTH]
            self.log.emit("log", level=record.levelname, logger=record.name, message=message)
        except Exception:
            self.handleError(record)
