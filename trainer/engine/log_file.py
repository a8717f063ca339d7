"""``train.log``: everything that is said during a run and isn't for the terminal."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

from trainer.core.secrets import MaskingFormatter
from trainer.runs.events.event_text import event_text
from trainer.runs.events.reader import Event

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class LogFile:
    """While the block runs, the loggers of this package and of mmengine, Python's warnings and whatever a
    library prints go to one file, appended to over all attempts of a run. The terminal stays with the
    console's view.
    """

    def __init__(self, path: Path) -> None:
        self.handler = logging.FileHandler(path, mode="a", encoding="utf-8", delay=False)
        self.handler.setLevel(logging.INFO)
        self.handler.setFormatter(MaskingFormatter(FORMAT))
        self.others: list[logging.Handler] = []
        self._taken: list[tuple[logging.Logger, int]] = []
        self.stdout = sys.stdout

    def __enter__(self) -> LogFile:
        self._loggers = [logging.getLogger("trainer"), logging.getLogger("py.warnings")]
        self._before = [(logger.level, logger.propagate) for logger in self._loggers]
        for logger in self._loggers:
            logger.addHandler(self.handler)
        self._loggers[0].setLevel(min(self._loggers[0].level or logging.INFO, logging.INFO))
        self._loggers[1].propagate = False
        logging.captureWarnings(True)
        self.stdout, sys.stdout = sys.stdout, _Lines(self)
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout = self.stdout
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(self._loggers, self._before, strict=True):
            for handler in (self.handler, *self.others):
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        # mmengine keeps its loggers, and writes into the file of each handler that it finds there.
        for logger, level in self._taken:
            logger.handlers = [one for one in logger.handlers if one not in (self.handler, *self.others)]
            logger.setLevel(level)
        self.handler.close()

    def add_handler(self, handler: logging.Handler) -> None:
        """Have what these loggers say go to ``handler`` too, until the block ends."""
        self.others.append(handler)
        for logger in self._loggers:
            logger.addHandler(handler)

    def write(self, message: str, level: int = logging.INFO, error: BaseException | None = None) -> None:
        """A line, with the traceback of ``error``, for the file only."""
        cause = (type(error), error, error.__traceback__) if error is not None else None
        self.handler.handle(logging.LogRecord("trainer", level, "", 0, message, None, cause))

    def log_event(self, event: Event) -> None:
        """Listener of the event log."""
        line = event_text(event)
        if line is not None:
            self.write(line)

    def take_mmengine(self) -> Any:
        """mmengine's current logger, now writing here, and to the others, only."""
        from mmengine.logging import MMLogger

        current = MMLogger.get_instance("trainer", logger_name="mmengine")
        self._taken = [(logger, logger.level) for logger in MMLogger._instance_dict.values()]
        for logger, _ in self._taken:
            logger.handlers = [self.handler, *self.others]
            logger.setLevel(logging.INFO)  # predicting in the same process has made it silent
        return current


class _Lines(io.TextIOBase):
    """Takes the place of stdout: whole lines become lines of the log."""

    def __init__(self, log: LogFile) -> None:
        self._log, self._rest = log, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._log.write(line)
        return len(text)
