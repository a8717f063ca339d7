"""Where downloaded weights lie: a folder that can be filled by hand.

``TRAINER_WEIGHTS``, else ``weights`` in the cache folder (:func:`trainer.core.cache_folder.cache_dir`)::

    rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth    a name with its content's hash, as OpenMMLab's
    github.com/owner/model/releases/download/v1/model.pth    any other URL: the host, then its path
    s3/bucket/checkpoints/17/best.pt                         s3://bucket/checkpoints/17/best.pt
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from trainer.core.cache_folder import cache_dir

# name-387a891e.pth, or, before 2022, name-c78dce93_20200708.pth.
_HASHED = re.compile(r"-([0-9a-f]{8,64})(?:_20\d{6})?\.(?:pth|pt|bin|ckpt|pth\.tar)$")
_DATE = re.compile(r"20\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")


def weights_dir() -> Path:
    """The folder of downloaded weights. It need not be there yet."""
    named = os.environ.get("TRAINER_WEIGHTS")
    return Path(named).expanduser().absolute() if named else cache_dir() / "weights"


def cached_path(url: str, folder: Path | None = None) -> Path:
    """The file that a URL's weights are, or would be, kept in."""
    parts = urlsplit(url)
    path = [part for part in PurePosixPath(unquote(parts.path)).parts if part not in ("/", ".", "..")]
    name = path[-1] if path else "weights.pth"
    root = folder or weights_dir()
    if stated_hash(name):
        return root / name
    if parts.query:  # the same path may serve several files
        stem, dot, suffix = name.rpartition(".")
        mark = hashlib.sha256(parts.query.encode()).hexdigest()[:8]
        # Not after a "-", where it would pass for the content's hash.
        name = f"{stem}.{mark}{dot}{suffix}" if dot else f"{name}.{mark}"
    host = "s3" if parts.scheme == "s3" else (parts.hostname or "")
    bucket = [parts.netloc] if parts.scheme == "s3" else []
    return root.joinpath(host, *bucket, *path[:-1], name)


def stated_hash(name: str) -> str | None:
    """The first hex digits of the SHA-256 that a file's name says it has; None when it says none."""
    found = _HASHED.search(name)
    return found[1] if found and not _DATE.fullmatch(found[1]) else None


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
