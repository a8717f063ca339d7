"""Bringing weights into the cache: gone on with after a cut or a kill, checked, once for however many ask."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.checkpoints.backbone_urls import resolve_backbone_url
from trainer.checkpoints.remote_file import (
    ConnectionCut,
    FileChanged,
    RequestRefused,
    current_tag,
    open_remote,
    shown_url,
)
from trainer.checkpoints.weights_cache import cached_path, sha256, stated_hash, weights_dir
from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.cli_text import program
from trainer.core.errors import CheckpointError, ConfigError, NetworkError, ResourceError
from trainer.core.locks import LockHeld, locked
from trainer.core.progress import Progress, megabytes

TRIES = 4  # in a row without a single byte
PAUSE = 0.5  # seconds before the second try, doubled with each further one

_sound: set[tuple[str, int, int]] = set()  # files that this process has checked


def fetch_weights(source: str, to: str | Path | None = None) -> Path:
    """The local file of ``source``, downloaded unless it is there.

    A file whose name states its hash is checked each time. One that was downloaded under a name without a hash is
    fetched again when the server has another one by now; without a network the file at hand is taken.

    Args:
        source: a URL (https, http, s3), a name like ``torchvision://resnet50``, or a config, ``package::path``, whose
            published weights are meant.
        to: the folder, instead of :func:`trainer.checkpoints.weights_cache.weights_dir`. Made when missing.

    Raises:
        ConfigError: no such name, or nothing is published for the config.
        NetworkError: it can't be downloaded; says what to do without a network.
        CheckpointError: the file isn't the one that its name says.
        ResourceError: the folder can't be written, or the disk is full.
    """
    url = _url(source)
    folder = Path(to).expanduser().absolute() if to is not None else weights_dir()
    target = cached_path(url, folder)
    if _at_hand(url, target):
        return target
    with _disk(target), _lock(target):
        if not _at_hand(url, target):  # another process may have brought it meanwhile
            _download(url, target)
    return target


def _url(source: str) -> str:
    if "://" in source:
        return resolve_backbone_url(source)
    if "::" not in source:
        raise ConfigError(f"{source!r} is no URL and no config (package::path)")
    from trainer.zoo.metafiles import weights_url

    url = weights_url(source)
    if url is None:
        raise ConfigError(f"no weights are published for {source}")
    return url


def _at_hand(url: str, target: Path) -> bool:
    """Whether the file is there and is what it should be."""
    if not target.is_file():
        return False
    wanted = stated_hash(target.name)
    if wanted:
        about = target.stat()
        key = (str(target), about.st_mtime_ns, about.st_size)
        if key not in _sound:
            _check(target, wanted, url, sha256(target))
            _sound.add(key)
        return True
    known = _read_note(_note(target))
    if "tag" not in known:
        return True  # put there by hand
    try:
        return current_tag(url) in (known["tag"], None)
    except (ConnectionCut, RequestRefused, FileChanged):
        return True  # no network: better than nothing


def _check(path: Path, wanted: str, url: str, found: str) -> None:
    if not found.startswith(wanted):
        raise CheckpointError(
            f"{path} is damaged or another file: its SHA-256 begins with {found[: len(wanted)]}, its name says "
            f"{wanted}. Remove it, and it is downloaded again from {shown_url(url)}"
        )


def _download(url: str, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    with Progress(target.name) as progress:
        resumed = part.exists()
        progress.say(f"downloading {shown_url(url)} to {target.parent}")
        tag = _pull(url, target, part, progress)
        wanted = stated_hash(target.name)
        found = sha256(part) if wanted else ""
        if wanted and not found.startswith(wanted) and resumed:
            progress.say(f"{target.name}: what was left of an earlier download doesn't fit; starting over")
            part.unlink()
            tag = _pull(url, target, part, progress)
            found = sha256(part)
    if wanted and not found.startswith(wanted):
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise CheckpointError(
            f"{shown_url(url)} is not the file that its name says: its SHA-256 begins with {found[: len(wanted)]} instead "
            f"of {wanted}. The server, or something in between, sends another file"
        )
    if not wanted:
        atomic_write(_note(target), json.dumps({"url": shown_url(url), "tag": tag}))
    move_into_place(part, target)
    _note(part).unlink(missing_ok=True)


def _pull(url: str, target: Path, part: Path, progress: Progress) -> str | None:
    """Fill ``part``, try after try; the tag of what it holds then."""
    idle = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _pull_once(url, part, progress)
        except RequestRefused as error:
            raise _unreachable(url, target, str(error)) from None
        except FileChanged as error:
            part.unlink(missing_ok=True)
            why = f"{error}; starting over"
        except ConnectionCut as error:
            why = str(error)
        after = part.stat().st_size if part.exists() else 0
        idle = 0 if after > before else idle + 1
        if idle >= TRIES:
            raise _unreachable(url, target, why)
        progress.say(f"{target.name}: {why}; going on at {megabytes(after)}")
        time.sleep(PAUSE * 2 ** max(0, idle - 1))


def _pull_once(url: str, part: Path, progress: Progress) -> str | None:
    known = _read_note(_note(part))
    done = part.stat().st_size if part.exists() else 0
    if done and known.get("url") != _mark(url):
        done = 0
    if done and done == known.get("size"):
        return known.get("tag")  # a kill came after the last byte
    with open_remote(url, done, known.get("tag") if done else None) as answer:
        done = answer.start
        _need_space(part, (answer.size or 0) - done)
        atomic_write(_note(part), json.dumps({"url": _mark(url), "tag": answer.tag, "size": answer.size}))
        with part.open("rb+" if part.exists() else "wb") as file:
            file.truncate(done)
            file.seek(done)
            for chunk in answer.chunks:
                file.write(chunk)
                done += len(chunk)
                progress.at(done, answer.size)
        if answer.size is not None and done < answer.size:
            raise ConnectionCut(f"the connection ended at {megabytes(done)} of {megabytes(answer.size)}")
        if answer.size is not None and done > answer.size:
            raise FileChanged("the server sends more than it said")
        return answer.tag


def _mark(url: str) -> str:
    """Tells URLs apart without keeping the keys that may be in them."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _note(path: Path) -> Path:
    """What is known of a file: beside it, hidden."""
    return path.with_name(f".{path.name}.json")


def _read_note(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _need_space(part: Path, size: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size > free:
        raise ResourceError(
            f"{part.parent} has {megabytes(free)} left, {megabytes(size)} are needed; "
            "TRAINER_WEIGHTS names another folder"
        )


def _unreachable(url: str, target: Path, reason: str) -> NetworkError:
    wanted = stated_hash(target.name)
    proof = f" (SHA-256 {wanted}...)" if wanted else ""
    return NetworkError(
        f"{shown_url(url)} can't be downloaded: {reason}.\n"
        f"Without a network: put the file at {target}{proof}; a machine with one gets it by\n"
        f"  {program()} models fetch {shown_url(url)} to=<folder>\n"
        f"or start from a file at hand with model.weights=<path>, or from nothing with model.weights=none"
    )


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """One process at a time, on one machine or over a shared file system that knows locks."""
    lock = target.with_name(f".{target.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, wait=0.1))
        except LockHeld as holder:
            with Progress(target.name) as progress:
                progress.say(f"{target.name}: waiting for {holder}, which downloads it")
            stack.enter_context(locked(lock, wait=math.inf))
        yield


@contextlib.contextmanager
def _disk(target: Path) -> Iterator[None]:
    """The folder, made; what the disk refuses as a :class:`ResourceError`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is full" if full else f"can't be written ({error.strerror or error})"
        raise ResourceError(f"{target.parent} {what}; TRAINER_WEIGHTS names another folder") from None
