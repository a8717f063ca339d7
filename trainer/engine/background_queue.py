"""Small jobs that needn't be done by the training thread: one after another, on a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger("trainer")

Job = Callable[[], object]


class BackgroundQueue:
    """A job that fails is told in the log file and costs nothing else; its thread ends with the process."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False

    def submit(self, job: Job) -> None:
        """Returns at once."""
        if not self._started:
            self._started = True
            self._thread.start()
        self._jobs.put(job)

    def finish(self, seconds: float) -> bool:
        """Wait at most so long until all jobs are done; whether they are. Later ones are not taken."""
        if self._started:
            self._jobs.put(None)
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                logger.exception("a job beside the training failed")
