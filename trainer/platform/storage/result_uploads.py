"""What goes into the results store beside the callbacks: checkpoints, plots, and how far the backend has been told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from trainer.core.errors import CheckpointError, TrainerError
from trainer.platform.callbacks.sink_state import PlatformSinkState
from trainer.platform.storage.run_archive import ArchiveUploads, forget, prefix_of
from trainer.platform.storage.s3_stores import S3Store
from trainer.runs.run import Run

logger = logging.getLogger("trainer")

CHECKPOINTS = ("best", "last")
PLOTS = {"confusion": "confusion_matrix", "pr": "pr_curve", "f1": "f1_curve"}
"""Our plots' names, and what the validation views call them."""
DELIVERED = "delivered"
# A checkpoint that changes all the time is uploaded so seldom that this share of the time goes into it.
SHARE = 0.25
MARKS_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


class ResultUploads:
    """Uploads one file at a time on a thread of its own. Only the calling thread touches the state.

    Args:
        told: the keys of what the backend knows, for ``delivered.json``.
    """

    def __init__(self, run: Run, state: PlatformSinkState, told: Callable[[], list[str]]) -> None:
        self.run, self.state, self.told = run, state, told
        self._pending: list[str] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._flying: tuple[str, str, float, Future[str]] | None = None
        self._not_before: dict[str, float] = {}
        self._pause = FIRST_PAUSE
        self._store: S3Store | None = None
        self._checkpoints: ArchiveUploads | None = None
        self._quiet_until = 0.0

    def add(self, *names: str) -> None:
        """Upload these, unless they are there as they are: ``best``, ``last``, a plot's name, ``delivered``."""
        for name in names if self.state.upload else ():
            if name not in self._pending and self._signature(name) != self.state.uploaded.get(name):
                self._pending.append(name)

    def add_plot(self, path: str) -> None:
        """A picture was drawn."""
        name = PLOTS.get(Path(path).stem)
        if name is not None and Path(path).parent.name == "plots":
            self.add(name)

    def beat(self) -> str | None:
        """Take note of what has ended and begin the next; gives what went wrong, if anything."""
        trouble = self._land()
        if self._flying is None:
            self._take_off()
        return trouble

    def drain(self, seconds: float) -> str | None:
        """Upload all that is pending, each once, within the time; gives what went wrong, if anything."""
        deadline, troubles = time.monotonic() + seconds, list[str]()
        self._not_before.clear()
        for _ in range(len(self._pending) + 1):
            if self._flying is None and not self._take_off():
                break
            assert self._flying is not None
            if not wait([self._flying[3]], max(0.0, deadline - time.monotonic())).done:
                troubles.append(f"{self._flying[0]} is still being uploaded")
                break
            if trouble := self._land():
                troubles.append(trouble)
        return "; ".join(troubles) or None

    def recall(self) -> list[str]:
        """The keys that an earlier process has delivered, from the store; none where it doesn't answer."""
        if not self.state.upload:
            return []
        try:
            content = self.store.read(self._key(DELIVERED))
            found = json.loads(content) if content else {}
            return [str(key) for key in found["keys"]] if found.get("run") == self.run.id else []
        except (TrainerError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("how far the backend was told before can't be read: %s", error)
            return []

    def mark(self) -> None:
        """Put down how far the backend has been told, now; a store that doesn't answer isn't asked for a while."""
        if not self.state.upload or time.monotonic() < self._quiet_until:
            return
        try:
            S3Store(tries=1).put_bytes(self._marks(), self._key(DELIVERED))
        except TrainerError as error:
            self._quiet_until = time.monotonic() + LONGEST_PAUSE
            logger.warning("how far the backend is told can't be put down: %s", error)

    def forget(self) -> None:
        """The job ended well: a later start begins anew."""
        if not self.state.upload:
            return
        try:
            forget(self.store, self.state.job_id)
        except TrainerError as error:
            logger.warning("what the job left for a restart can't be removed: %s", error)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def store(self) -> S3Store:
        if self._store is None:
            self._store = S3Store()
        return self._store

    def _take_off(self) -> bool:
        now = time.monotonic()
        for name in list(self._pending):
            signature = self._signature(name)
            if signature is None or signature == self.state.uploaded.get(name):
                self._pending.remove(name)
            elif self._not_before.get(name, 0.0) <= now:
                self._pending.remove(name)
                self._flying = name, signature, now, self._pool.submit(self._upload, name)
                return True
        return False

    def _land(self) -> str | None:
        if self._flying is None or not self._flying[3].done():
            return None
        name, signature, began, future = self._flying
        self._flying = None
        error = future.exception()
        if error is None:
            if name != DELIVERED:
                self.state.links[name] = future.result()
            self.state.uploaded[name] = signature
            self._pause = FIRST_PAUSE
            took = time.monotonic() - began
            self._not_before[name] = time.monotonic() + max(took / SHARE, MARKS_SECONDS * (name == DELIVERED))
            self.add(name)  # it may have changed meanwhile
            return None
        self._pending.append(name)  # behind the others
        self._not_before[name] = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if isinstance(error, CheckpointError):
            logger.info("upload of %s: %s", name, error)  # it is just being replaced
            return None
        return f"upload of {name}: {error}"

    def _upload(self, name: str) -> str:
        if name in CHECKPOINTS:
            if self._checkpoints is None:
                self._checkpoints = ArchiveUploads(self.run, self.store, self.state.job_id)
            return self._checkpoints.upload(name)
        if name == DELIVERED:
            return self.store.put_bytes(self._marks(), self._key(DELIVERED))
        return self.store.put(self._file(name), self._key(name))

    def _key(self, name: str) -> str:
        if name == DELIVERED:
            return f"{prefix_of(self.state.job_id)}{DELIVERED}.json"
        return f"job{self.state.job_id}/validation/{name}.png"

    def _file(self, name: str) -> Path:
        if name in CHECKPOINTS:
            return self.run.checkpoints / f"{name}.pth"
        own = next(own for own, theirs in PLOTS.items() if theirs == name)
        return self.run.dir / "plots" / f"{own}.png"

    def _signature(self, name: str) -> str | None:
        """Which content it has; None when it isn't there."""
        if name == DELIVERED:
            return str(len(self.told()))
        try:
            facts = self._file(name).stat()
        except OSError:
            return None
        return f"{facts.st_size}-{facts.st_mtime_ns}"

    def _marks(self) -> bytes:
        return json.dumps({"version": 1, "run": self.run.id, "keys": self.told()}).encode()
