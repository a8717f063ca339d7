"""Files of a run directory on their way to MLflow, one at a time, beside the telling of metrics."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from trainer.tracking.mlflow_state import MlflowState

BEAT_SECONDS = 1.0
# A checkpoint that changes all the time is uploaded so seldom that this share of the time goes into it.
SHARE = 0.1


class ArtifactUploads:
    """Uploads what ``state.pending`` names; ``state.artifacts`` says which content of it is there.

    Only the calling thread touches the state. What is cut off is still pending the next time.

    Args:
        send: uploads a file to a folder of the run's artifacts (None: the top one); called on another thread.
    """

    def __init__(self, run_dir: Path, state: MlflowState, send: Callable[[Path, str | None], None]) -> None:
        self.run_dir, self.state, self.send = run_dir, state, send
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._flying: tuple[str, str, Future[float]] | None = None
        self._not_before: dict[str, float] = {}

    def add(self, *paths: str) -> None:
        """Upload these files, and those in these folders, unless they are there as they are."""
        for path in paths:
            for file in self._files(path):
                if file not in self.state.pending and self._signature(file) != self.state.artifacts.get(file):
                    self.state.pending.append(file)

    def beat(self) -> str | None:
        """Upload what can be in a second, leaving a longer one in flight; gives an error that came up."""
        until = time.monotonic() + BEAT_SECONDS
        while self._take_off() and (left := until - time.monotonic()) > 0:
            try:
                self._land(left)
            except Exception as error:  # what MLflow's stores raise; it stays pending
                return f"{type(error).__name__}: {error}"
        return None

    def drain(self) -> None:
        """Upload all of it, raising what comes in the way."""
        while self._take_off(wait=False):
            self._land(None)

    def _take_off(self, wait: bool = True) -> bool:
        """See that one is in flight, if any is left that needn't wait."""
        if self._flying:
            return True
        for path in list(self.state.pending):
            signature = self._signature(path)
            if signature is None or self.state.artifacts.get(path) == signature:
                self.state.pending.remove(path)
            elif not wait or self._not_before.get(path, 0.0) <= time.monotonic():
                self._flying = path, signature, self._pool.submit(self._upload, path)
                return True
        return False

    def _land(self, seconds: float | None) -> None:
        assert self._flying is not None
        path, signature, future = self._flying
        if not wait([future], seconds).done:
            return
        self._flying = None
        self._not_before[path] = time.monotonic() + BEAT_SECONDS  # after an error: the others first
        took = future.result()
        self._not_before[path] = time.monotonic() + took / SHARE
        self.state.artifacts[path] = signature

    def _upload(self, path: str) -> float:
        start = time.monotonic()
        folder = Path(path).parent.as_posix()
        with _as_it_is(self.run_dir / path, self.run_dir / "sinks" / "uploading") as file:
            self.send(file, None if folder == "." else folder)
        return time.monotonic() - start

    def _files(self, path: str) -> Iterator[str]:
        """The files that a path of the run directory means; none outside of it."""
        root, full = self.run_dir.resolve(), (self.run_dir / path).resolve()
        if root not in full.parents:
            return
        if full.is_file():
            yield Path(os.path.relpath(self.run_dir / path, self.run_dir)).as_posix()
        elif full.is_dir():
            for one in sorted(full.rglob("*")):
                if one.is_file() and not one.name.startswith("."):
                    yield one.relative_to(root).as_posix()

    def _signature(self, path: str) -> str | None:
        """Which content a file has; None when it isn't there."""
        return signature(self.run_dir / path)


def signature(file: Path) -> str | None:
    """Size and time of change of a file, None when it isn't there."""
    try:
        facts = file.stat()
    except OSError:
        return None
    return f"{facts.st_size}-{facts.st_mtime_ns}"


@contextmanager
def _as_it_is(file: Path, folder: Path) -> Iterator[Path]:
    """A second name for a file's content: a checkpoint may be replaced while a store reads it in pieces."""
    second = folder / file.name
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.link(file.resolve(), second)
    except OSError:  # a file system without links
        yield file
        return
    try:
        yield second
    finally:
        shutil.rmtree(folder, ignore_errors=True)
