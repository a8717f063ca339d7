"""A run in the results store, so that a pod that takes a job over goes on where the one before was cut off.

::

    checkpoints/<job>/last.pt  best.pt      what the platform's backend is told about
    checkpoints/<job>/restart.json.gz       what the engine needs besides: run.json, checksums, the event log
    checkpoints/<job>/delivered.json        how far the backend has been told (kept by the sink)

A checkpoint's entry is noted in ``restart.json.gz`` before the file is uploaded, beside that of the file before, and
alone afterwards: whatever is cut off, the file under a name is described. A job that ended well takes the file away,
so that the platform's *restart* begins anew.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import CheckpointError, NetworkError
from trainer.platform.storage.s3_stores import S3Store, StoreObjectMissing
from trainer.runs.manifest import NAMES, Entry, Manifest, sha256
from trainer.runs.run import Run

VERSION = 1
# What must be the same, or the job is another one under the same number.
SAME = ("model", "task", "dataset")
# What was configured, secrets masked: a run goes on from the weights that it started from, layers frozen alike.
FILES = ("config.yaml", "overrides.yaml")
_log = logging.getLogger("trainer")


def prefix_of(job_id: int) -> str:
    """``checkpoints/<job>/``: where everything of a training job lies in the results store."""
    return f"checkpoints/{job_id}/"


class ArchiveUploads:
    """Brings a run's checkpoints into the results store, from the sink's process, never from the training.

    Args:
        run: the run.
        store: the results store.
        job_id: the platform's number of the job.
    """

    def __init__(self, run: Run, store: S3Store, job_id: int) -> None:
        self.run, self.store = run, store
        self.prefix = prefix_of(job_id)
        self._checkpoints: dict[str, list[Entry]] | None = None

    def upload(self, name: str) -> str:
        """Upload ``checkpoints/<name>.pth`` (``best`` or ``last``), as it is now, to ``checkpoints/<job>/<name>.pt``.

        What is there already is not uploaded again, and content that lies there under the other name is copied by
        the store itself.

        Returns:
            Its URI.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            CheckpointError: there is no such checkpoint, or it isn't whole.
        """
        key = f"{self.prefix}{name}.pt"
        known = self._known()
        with _still(self.run.checkpoints / f"{name}.pth") as path:
            entry = self._entry(name, path)
            there = known.get(name, [])
            if [one["sha256"] for one in there] == [entry["sha256"]]:
                return self.store.uri(key)
            known[name] = [*there, entry]
            self._write()
            if not self._copied(entry, name, key):
                self.store.put(path, key)
        known[name] = [entry]
        self._write()
        return self.store.uri(key)

    def _known(self) -> dict[str, list[Entry]]:
        """The entries of what lies in the store, by name; several where an upload was cut off."""
        if self._checkpoints is None:
            state = _read_state(self.store, self.prefix)
            mine = state is not None and state["run"].get("id") == self.run.id
            self._checkpoints = state["checkpoints"] if state and mine else {}
        return self._checkpoints

    def _entry(self, name: str, path: Path) -> Entry:
        """What the manifest says of a file, by its content: the name may have gone on to the next one already."""
        digest, manifest = sha256(path), Manifest(self.run.checkpoints).read()
        coming = manifest.pop("next", {})
        # Its own entry first: the same content under another name has other facts.
        entries = [coming.get(name), manifest.get(name), *coming.values(), *manifest.values()]
        for entry in entries:
            if isinstance(entry, dict) and entry.get("sha256") == digest:
                return {**entry, "file": f"{name}.pth"}
        raise CheckpointError(f"{self.run.checkpoints / name}.pth is not what its manifest says")

    def _copied(self, entry: Entry, name: str, key: str) -> bool:
        for other, entries in self._known().items():
            if other != name and [one["sha256"] for one in entries] == [entry["sha256"]]:
                with contextlib.suppress(NetworkError):  # then it is uploaded
                    self.store.copy(f"{self.prefix}{other}.pt", key)
                    return True
        return False

    def _write(self) -> None:
        events = _text(self.run.events)
        state = {
            "version": VERSION,
            "run": self.run.facts,
            "checkpoints": self._checkpoints,
            "events": events[: events.rfind("\n") + 1],
            "files": {name: _text(self.run.dir / name) for name in FILES},
        }
        content = gzip.compress(json.dumps(state, ensure_ascii=False).encode(), compresslevel=5, mtime=0)
        self.store.put_bytes(content, f"{self.prefix}restart.json.gz", "application/gzip")


def restore(store: S3Store, job_id: int, output_dir: Path, same: Mapping[str, str]) -> Run | None:
    """Make the run directory that an earlier pod had, from the results store.

    Args:
        output_dir: where run directories are made.
        same: the job's ``model``, ``task`` and ``dataset``; where the store has another job's run, it is left.

    Returns:
        The run; None where there is nothing to go on from.

    Raises:
        NetworkError: the store doesn't answer, or refuses.
    """
    prefix = prefix_of(job_id)
    state = _read_state(store, prefix)
    if state is None:
        return None
    facts = state["run"]
    others = [f"{name} {facts.get(name)}" for name in SAME if same.get(name) != facts.get(name)]
    if others:
        _log.warning(
            "the results store has a run of this job with %s: it is left, training begins anew",
            ", ".join(others),
        )
        return None
    run = Run(output_dir / facts["experiment"] / facts["id"], facts["id"], facts["experiment"])
    manifest: dict[str, Any] = {"version": 1}
    for name in NAMES:
        entry = _fetch(
            store, f"{prefix}{name}.pt", run.checkpoints / f"{name}.pth", state["checkpoints"].get(name, [])
        )
        if entry is not None:
            manifest[name] = {**entry, "file": f"{name}.pth"}
    if len(manifest) == 1:
        _log.warning("no checkpoint of job %d in the results store is whole: training begins anew", job_id)
        shutil.rmtree(run.dir, ignore_errors=True)
        return None
    atomic_write(Manifest(run.checkpoints).path, json.dumps(manifest, indent=2) + "\n")
    atomic_write(run.events, state["events"])
    for name in FILES:
        if text := state.get("files", {}).get(name):
            atomic_write(run.dir / name, str(text))
    atomic_write(
        run.dir / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    )  # now it is a run
    return run


def forget(store: S3Store, job_id: int) -> None:
    """After a job that ended well: a later start under this number begins anew. Raises NetworkError."""
    for name in ("restart.json.gz", "delivered.json"):
        store.delete(f"{prefix_of(job_id)}{name}")


def _read_state(store: S3Store, prefix: str) -> dict[str, Any] | None:
    content = store.read(f"{prefix}restart.json.gz")
    if content is None:
        return None
    try:
        state = json.loads(gzip.decompress(content))
        whole = state["version"] == VERSION and state["run"]["id"] and isinstance(state["checkpoints"], dict)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        _log.warning("%srestart.json.gz can't be read: this job doesn't go on from it", prefix)
        return None
    return dict(state)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _fetch(store: S3Store, key: str, path: Path, known: list[Entry]) -> Entry | None:
    """A checkpoint from the store, with its entry; None where it is missing or none of those it may be."""
    if not known:
        return None
    try:
        store.get(key, path)
    except StoreObjectMissing:
        return None
    digest = sha256(path)
    found = next((entry for entry in known if entry["sha256"] == digest), None)
    if found is None:
        path.unlink()
    return found


@contextmanager
def _still(path: Path) -> Iterator[Path]:
    """The file under a second name, which stays what it is when the next checkpoint takes the first one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.upload.tmp")
    try:
        try:
            beside.unlink(missing_ok=True)
            os.link(path, beside)
        except FileNotFoundError:
            raise CheckpointError(f"there is no {path}") from None
        except OSError:  # a file system without hard links
            shutil.copyfile(path, beside)
        yield beside
    finally:
        beside.unlink(missing_ok=True)
