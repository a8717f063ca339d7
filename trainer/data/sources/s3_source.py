"""``s3://bucket/prefix`` as a local folder: label files first, then the images that they name, in the cache.

A data set is found again by ``DATASET_VERSION_HASH`` where that is set, without a question to the store; else by the
keys, sizes and ETags of all that lies below the prefix. What an older version of it brought is linked, not fetched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import DatasetError
from trainer.core.object_store import StoredObject
from trainer.core.progress import Progress, megabytes
from trainer.core.remote_faults import ObjectMissing
from trainer.core.s3 import split_uri
from trainer.data.annotation_document import open_document
from trainer.data.files import inside
from trainer.data.formats.data_format import FormatPart, opened
from trainer.data.records import Problems
from trainer.data.sources import dataset_cache, select_objects
from trainer.data.sources.archive import data_root, is_archive, unpack
from trainer.data.sources.bucket import Bucket
from trainer.data.sources.parallel_fetch import fetch_objects
from trainer.schema import Dataset

_VERSIONS = 3  # older ones that are looked through for files that didn't change
_HASH = re.compile(r"[0-9a-f]{16,}")
_log = logging.getLogger("trainer")

Things = dict[str, StoredObject]  # by the name below the prefix


def fetched(dataset: Dataset, task: str, name: str) -> Path:
    """The data set at ``dataset.path`` in the cache; ``name`` is what messages call it.

    Raises:
        DatasetError: it isn't there, is no data set, or names images that aren't there.
        NetworkError: the store doesn't answer or refuses.
        ResourceError: no room for it.
    """
    bucket, key = split_uri(dataset.path or "")
    store = Bucket(bucket)
    with Progress(name) as progress:
        if is_archive(key):
            return _archive(store, key, progress)
        return _Fetch(store, key, dataset, task, name, progress).folder()


def _archive(store: Bucket, key: str, progress: Progress) -> Path:
    uri = f"s3://{store.bucket}/{key}"
    try:
        thing = store.look(key)
    except ObjectMissing:
        raise DatasetError(f"dataset.path: there is no {uri}") from None

    def fill(part: Path) -> dict[str, Any]:
        file = part / f"archive{key[-7:].lower()}"
        dataset_cache.make_room(thing.size, part)
        fetch_objects(store, [(thing, file)], progress)
        try:
            files = unpack(file, part / "data", uri, progress.at)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        file.unlink()
        return {"source": uri, "etag": thing.etag, "files": files}

    name = f"s3-{_digest(store.endpoint, store.bucket, key)[:8]}-{_digest(thing.etag, thing.size)[:16]}"
    return data_root(dataset_cache.cache_entry(name, uri, fill))


class _Fetch:
    """One data set below a prefix."""

    def __init__(
        self, store: Bucket, key: str, dataset: Dataset, task: str, name: str, progress: Progress
    ) -> None:
        self._store, self._dataset, self._task, self._name = store, dataset, task, name
        self._progress = progress
        self._prefix = f"{key.strip('/')}/" if key.strip("/") else ""
        self._uri = f"s3://{store.bucket}/{self._prefix}"
        self._source = f"s3-{_digest(store.endpoint, store.bucket, self._prefix)[:8]}"
        self._things: Things = {}
        self._index: Things = {}

    def folder(self) -> Path:
        version = _stated_version()
        d = self._dataset
        given = (d.train_annotations, d.val_annotations, d.train_images, d.val_images, d.on_error)
        what = _digest(self._task, d.format, *given)[:8]
        if version is None:
            self._list()
            version = _digest(*sorted((n, t.size, t.etag) for n, t in self._things.items()))
        try:
            return dataset_cache.cache_entry(f"{self._source}-{version[:16]}-{what}", self._uri, self._fill)
        except DatasetError as error:  # what was read lies in the cache, where nobody put it
            text = re.sub(
                rf"{re.escape(str(dataset_cache.datasets_dir()))}/{self._source}[^/]*/data/?",
                self._uri,
                str(error),
            )
            raise DatasetError(text) from None

    def _list(self) -> None:
        """All objects below the prefix, by clean names; hidden ones left out."""
        if self._things:
            return
        self._progress.say(f"{self._name}: listing {self._uri}")
        self._things = _by_name(self._store.listing(self._prefix), self._prefix, self._uri)
        if not self._things:
            raise DatasetError(f"dataset.path: nothing lies below {self._uri}")

    def _fill(self, part: Path) -> dict[str, Any]:
        self._list()
        data, origin = part / "data", part / "origin"
        state = _digest(*sorted((n, t.size, t.etag) for n, t in self._things.items()))
        if not origin.is_file() or origin.read_text() != state:  # a part of another version
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir()
            atomic_write(origin, state)
        self._bring(select_objects.label_files(self._things, self._dataset, self._task), data)
        self._compare(data)
        self._bring(self._images(data), data)
        index = {name: [thing.size, thing.etag] for name, thing in self._index.items()}
        atomic_write(part / "index.json", json.dumps(index))
        origin.unlink()
        return {"source": self._uri, "files": len(self._index)}

    def _compare(self, data: Path) -> None:
        """Say when the data set is another one by now than that of ``DATASET_VERSION_HASH``."""
        version = _stated_version()
        names = [
            n for n in self._index if n.rpartition("/")[2].startswith("annotations") and n.endswith(".json")
        ]
        if version is None or not names:
            return
        digest = hashlib.sha256()
        for name in sorted(names, key=lambda n: n.rpartition("/")[2]):
            digest.update((data / name).read_bytes())
        if not digest.hexdigest().startswith(version):
            _log.warning(
                "the annotation files below %s have changed since DATASET_VERSION_HASH was taken; what is there now "
                "is used",
                self._uri,
            )

    def _images(self, data: Path) -> list[str]:
        """The images and masks that are needed."""
        problems = Problems(self._dataset.on_error)
        for folder in {os.path.dirname(name) for name in select_objects.images(self._things)}:
            (data / folder).mkdir(parents=True, exist_ok=True)  # formats are known by their folders, too
        dataset = dataclasses.replace(self._dataset, path=str(data))
        parts = select_objects.documents(dataset, self._task, problems)
        problems.raise_any(self._name)
        if not parts:
            return select_objects.images(self._things)
        wanted: dict[str, None] = {}
        for kind, part in parts:
            read = open_document(part.path, opened(dataset), problems)
            if read is None:
                continue
            document = read.raw
            named = self._named(kind, part, document, data, problems)
            lost = named.lost_images or named.lost_masks
            if lost and self._list_elsewhere(select_objects.image_root(document)):
                named = self._named(kind, part, document, data, Problems())
            wanted |= dict.fromkeys(named.found)
            for name in named.lost_images:
                text = f"images that {part.path.name} names are not below {self._uri}"
                problems.error(text, name, "image_missing")
            for name in named.lost_masks:
                problems.error(f"masks that {part.path.name} names are not below {self._uri}", name)
        problems.raise_any(self._name)
        return list(wanted)

    def _named(
        self, kind: str, part: FormatPart, document: dict[str, Any], data: Path, problems: Problems
    ) -> select_objects.ReferencedImages:
        has = self._things.__contains__
        return select_objects.named_images(
            kind, part, document, data, self._prefix, has, self._task, problems
        )

    def _list_elsewhere(self, root: str) -> bool:
        """Images of a DICE data set may lie under another prefix of the bucket: they are read as ``images/...``."""
        if not root or root.startswith(self._prefix):
            return False
        others = _by_name(self._store.listing(root), root, f"s3://{self._store.bucket}/{root}")
        self._things = {f"images/{name}": thing for name, thing in others.items()} | self._things
        return bool(others)

    def _bring(self, names: Iterable[str], data: Path) -> None:
        wanted = {name: self._things[name] for name in names}
        self._index |= wanted
        _refuse_clashes(self._index, self._uri)
        self._link_known(wanted, data)
        lacking = [thing.size for name, thing in wanted.items() if not (data / name).is_file()]
        dataset_cache.make_room(sum(lacking), data.parent)
        if lacking:
            files = f"{len(lacking):,} files" if len(lacking) > 1 else "1 file"
            self._progress.say(
                f"{self._name}: fetching {files} of {megabytes(sum(lacking))} from {self._uri}"
            )
        fetch_objects(self._store, ((thing, data / name) for name, thing in wanted.items()), self._progress)

    def _link_known(self, wanted: Things, data: Path) -> None:
        """Take from other versions in the cache what is the same there."""
        others = [
            p
            for p in dataset_cache.datasets_dir().glob(f"{self._source}-*/index.json")
            if p.parent != data.parent
        ]
        for note in sorted(others, key=_time, reverse=True)[:_VERSIONS]:
            try:
                index = json.loads(note.read_bytes())
                for name, thing in wanted.items():
                    path = data / name
                    if thing.etag and index.get(name) == [thing.size, thing.etag] and not path.exists():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        os.link(note.parent / "data" / name, path)
            except (OSError, ValueError):
                continue  # removed at this moment, or a disk without links


def _stated_version() -> str | None:
    """``DATASET_VERSION_HASH``: SHA-256 of the annotation files; None where it is not set or no such thing."""
    version = os.environ.get("DATASET_VERSION_HASH", "").strip().lower()
    return version if _HASH.fullmatch(version) else None


def _by_name(things: Iterable[StoredObject], prefix: str, uri: str) -> Things:
    found: Things = {}
    bad: list[str] = []
    for thing in things:
        name = thing.key[len(prefix) :]
        if not name or name.endswith("/"):
            continue  # what some tools put there for a folder
        clean = inside(name)
        if clean is None or ".." in name.replace("\\", "/").split("/"):
            bad.append(repr(name))
        elif not any(part.startswith(".") for part in clean.split("/")):
            found[clean] = thing
    if bad:
        more = ", ..." if len(bad) > 3 else ""
        raise DatasetError(
            f"{uri}: objects whose names lead out of a folder ({len(bad)}): {', '.join(bad[:3])}{more}"
        )
    return found


def _refuse_clashes(wanted: Things, uri: str) -> None:
    """A store may hold ``a`` and ``a/b``, a folder can't."""
    folders = {parent for name in wanted for parent in _parents(name)}
    clash = sorted(folders & wanted.keys())
    if clash:
        raise DatasetError(
            f"{uri}: {clash[0]!r} is an object and a folder of others, too; rename one of them"
        )


def _parents(name: str) -> Iterable[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
