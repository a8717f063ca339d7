"""Bring weights into the cache: resumed after a cut or a kill, checked, downloaded once for all processes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.checkpoints.backbone_urls import resolve_backbone_url
from trainer.checkpoints.remote_file import current_tag, open_remote, shown_url
from trainer.checkpoints.weights_cache import cached_path, sha256, stated_hash, weights_dir
from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.cli_text import program
from trainer.core.errors import CheckpointError, ConfigError, NetworkError, ResourceError
from trainer.core.locks import LockHeld, locked
from trainer.core.progress import Progress, megabytes
from trainer.core.remote_content import append_content, size_of_part
from trainer.core.remote_faults import FileChanged, RemoteFault, RequestRefused, TransientFault
from trainer.core.retry import RetryPolicy

TRIES = 4  # in a row without a single byte

_checked: set[tuple[str, int, int]] = set()  # files whose hash this process has checked


def fetch_weights(source: str, to: str | Path | None = None) -> Path:
    """Return the local file of ``source``, downloaded unless it is there.

    A file whose name states its hash is checked each time. One that was downloaded under a name without a hash is
    downloaded again when the server has another one by now; without a network the local file is used.

    Args:
        source: a URL (https, http, s3), a name like ``torchvision://resnet50``, or a config, ``package::path``, whose
            published weights are meant.
        to: the folder, instead of :func:`trainer.checkpoints.weights_cache.weights_dir`. Made when missing.

    Raises:
        ConfigError: no such name, or nothing is published for the config.
        NetworkError: it can't be downloaded; says what to do without a network.
        CheckpointError: the file's hash isn't the one in its name.
        ResourceError: the folder can't be written, or the disk is full.

    >>> fetch_weights("resnet50")
    Traceback (most recent call last):
    trainer.core.errors.ConfigError: 'resnet50' is no URL and no config (package::path)
    """
    url = _url(source)
    folder = Path(to).expanduser().absolute() if to is not None else weights_dir()
    target = cached_path(url, folder)
    if _is_current(url, target):
        return target
    with _disk_errors(target), _lock(target):
        if not _is_current(url, target):  # another process may have downloaded it meanwhile
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


def _is_current(url: str, target: Path) -> bool:
    """Whether the file exists and is what it should be."""
    if not target.is_file():
        return False
    expected = stated_hash(target.name)
    if expected:
        status = target.stat()
        key = (str(target), status.st_mtime_ns, status.st_size)
        if key not in _checked:
            _check(target, expected, url, sha256(target))
            _checked.add(key)
        return True
    note = _read_note(_note(target))
    if "tag" not in note:
        return True  # put there by hand
    try:
        return current_tag(url) in (note["tag"], None)
    except RemoteFault:
        return True  # no network: better than nothing


def _check(path: Path, expected: str, url: str, actual: str) -> None:
    if not actual.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged or another file: its SHA-256 begins with {actual[: len(expected)]}, its name says "
            f"{expected}. Remove it, and it is downloaded again from {shown_url(url)}"
        )


def _download(url: str, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    with Progress(target.name) as progress:
        resumed = part.exists()
        progress.say(f"downloading {shown_url(url)} to {target.parent}")
        tag = _pull(url, target, part, progress)
        expected = stated_hash(target.name)
        actual = sha256(part) if expected else ""
        if expected and not actual.startswith(expected) and resumed:
            progress.say(f"{target.name}: what an earlier download left doesn't fit; starting over")
            part.unlink()
            tag = _pull(url, target, part, progress)
            actual = sha256(part)
    if expected and not actual.startswith(expected):
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise CheckpointError(
            f"{shown_url(url)} is not the file that its name says: its SHA-256 begins with {actual[: len(expected)]} "
            f"instead of {expected}. The server, or something in between, sends another file"
        )
    if not expected:
        atomic_write(_note(target), json.dumps({"url": shown_url(url), "tag": tag}))
    move_into_place(part, target)
    _note(part).unlink(missing_ok=True)


def _pull(url: str, target: Path, part: Path, progress: Progress) -> str | None:
    """Fill ``part``, try after try, and return the tag of its content."""

    def announce(fault: TransientFault) -> None:
        progress.say(f"{target.name}: {fault}; resuming at {megabytes(size_of_part(part))}")

    try:
        return RetryPolicy(TRIES).call(
            lambda: _pull_once(url, part, progress),
            progress=lambda: size_of_part(part),
            on_fault=announce,
        )
    except (RequestRefused, TransientFault) as fault:
        raise _unreachable(url, target, str(fault)) from None


def _pull_once(url: str, part: Path, progress: Progress) -> str | None:
    note = _read_note(_note(part))
    done = size_of_part(part)
    if done and note.get("url") != _mark(url):
        done = 0
    if done and done == note.get("size"):
        return note.get("tag")  # a kill came after the last byte
    try:
        with open_remote(url, done, note.get("tag") if done else None) as content:
            done, size = content.start, content.size
            _need_space(part, (size or 0) - done)
            atomic_write(_note(part), json.dumps({"url": _mark(url), "tag": content.tag, "size": size}))

            def show(chunk: bytes) -> None:
                nonlocal done
                done += len(chunk)
                progress.at(done, size)

            append_content(part, content, show)
            return content.tag
    except FileChanged as fault:
        part.unlink(missing_ok=True)
        raise TransientFault(f"{fault}; starting over") from None


def _mark(url: str) -> str:
    """Tell URLs apart without storing the keys that may be in them."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _note(path: Path) -> Path:
    """The hidden file beside a file that says where it comes from."""
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
    expected = stated_hash(target.name)
    digest = f" (SHA-256 {expected}...)" if expected else ""
    return NetworkError(
        f"{shown_url(url)} can't be downloaded: {reason}.\n"
        f"Without a network: put the file at {target}{digest}; a machine with a network gets it by\n"
        f"  {program()} models fetch {shown_url(url)} to=<folder>\n"
        f"or start from a local file with model.weights=<path>, or from random weights with model.weights=none"
    )


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """One process at a time, on one machine or on a shared file system that supports locks."""
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
def _disk_errors(target: Path) -> Iterator[None]:
    """Make the folder, and raise what the disk refuses as a :class:`ResourceError`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is full" if full else f"can't be written ({error.strerror or error})"
        raise ResourceError(f"{target.parent} {what}; TRAINER_WEIGHTS names another folder") from None
