"""The platform's S3 stores, to write to and to read from, and files by any kind of URI.

::

    store = S3Store()                                 # the internal store's bucket: checkpoints, exports, results
    store.put("last.pth", "checkpoints/42/last.pt")   # -> "s3://training-checkpoints/checkpoints/42/last.pt"

Which store holds which bucket, and with which keys, is decided by :mod:`trainer.core.s3`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trainer.core.atomic_files import atomic_file
from trainer.core.errors import ConfigError, NetworkError
from trainer.core.object_store import ObjectStore
from trainer.core.remote_faults import ObjectMissing, RemoteFault, StoreMisconfigured, TransientFault
from trainer.core.retry import TRIES, RetryPolicy
from trainer.core.s3 import bucket_of, endpoint_variable, key_variables, split_uri

CONTENT_TYPES = {
    ".pt": "application/x-pytorch",
    ".pth": "application/x-pytorch",
    ".json": "application/json",
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".txt": "text/plain",
    ".gz": "application/gzip",
}


class StoreObjectMissing(NetworkError):
    """There is no such object, or no such bucket."""


class S3Store:
    """One bucket. Every method may be called from any thread, and tries again where that may help.

    Args:
        bucket: its name; None: that of the internal store, for checkpoints and results.
        prefer: the store that is asked for a bucket that no store is named for.
        tries: how often a request is tried that fails for now (5xx, 429, no connection).

    Raises:
        NetworkError: the endpoint is no URL, or the AWS profile doesn't exist.
        ResourceError: boto3 isn't installed.
    """

    def __init__(self, bucket: str | None = None, prefer: str = "internal", tries: int = TRIES) -> None:
        self.bucket = bucket or bucket_of("internal")
        self._tries = tries
        self._variables = (
            f"{endpoint_variable(self.bucket, prefer)}, {key_variables(self.bucket, prefer)} name the store"
        )
        try:
            self._store = ObjectStore(self.bucket, prefer, RetryPolicy(tries))
        except StoreMisconfigured as fault:
            raise NetworkError(f"s3://{self.bucket}: {fault}; {self._variables}") from None
        self.endpoint = self._store.endpoint

    def uri(self, key: str) -> str:
        """The URI of an object, which need not exist."""
        return f"s3://{self.bucket}/{key}"

    def put(self, path: str | Path, key: str, content_type: str | None = None) -> str:
        """Upload a file, a large one in parts; returns its URI. Under its key it is complete or doesn't exist.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            FileNotFoundError: there is no such file.
        """
        path = Path(path)
        path.stat()  # boto3's message for a missing file is less clear
        with self._errors(f"{path.name} can't be uploaded to"):
            self._store.upload(path, key, content_type or _content_type(key))
        return self.uri(key)

    def put_bytes(self, content: bytes, key: str, content_type: str | None = None) -> str:
        """Store ``content`` under ``key``; returns its URI. Raises as :meth:`put`."""
        with self._errors(f"{key} can't be written to"):
            self._store.put(content, key, content_type or _content_type(key))
        return self.uri(key)

    def get(self, key: str, path: str | Path) -> Path:
        """Download an object as the file ``path``, which is complete or doesn't exist.

        Raises:
            StoreObjectMissing: there is no such object.
            NetworkError: the store doesn't answer, or refuses.
            OSError: the file can't be written.
        """
        path = Path(path)
        with self._errors(f"{key} can't be read from"):
            self._store.download(key, functools.partial(atomic_file, path))
        return path

    def read(self, key: str) -> bytes | None:
        """Return an object's content; None where there is none. Raises NetworkError as :meth:`get`."""
        try:
            with self._errors(f"{key} can't be read from"):
                return self._store.read(key)
        except StoreObjectMissing:
            return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object. Raises NetworkError as :meth:`get`."""
        try:
            with self._errors(f"{key} can't be looked for in"):
                self._store.head(key)
        except StoreObjectMissing:
            return False
        return True

    def copy(self, source: str, key: str) -> str:
        """Have the store copy an object of this bucket; returns the copy's URI.

        Raises:
            StoreObjectMissing: there is no such object.
            NetworkError: the store doesn't answer, or refuses.
        """
        with self._errors(f"{source} can't be copied in"):
            self._store.copy(source, key)
        return self.uri(key)

    def delete(self, key: str) -> None:
        """Remove an object; none with this key is fine, too. Raises NetworkError as :meth:`get`."""
        with self._errors(f"{key} can't be removed from"):
            self._store.delete(key)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of all objects whose key begins with ``prefix``, in the order of their keys.

        Raises:
            StoreObjectMissing: there is no such bucket.
            NetworkError: the store doesn't answer, or refuses.
        """
        with self._errors(f"{prefix} can't be listed in"):
            for entry in self._store.list(prefix):
                yield entry.key, entry.size

    @contextmanager
    def _errors(self, problem: str) -> Iterator[None]:
        """Raise faults as errors for the user, which begin with ``problem``."""
        try:
            yield
        except RemoteFault as fault:
            message = f"{problem} s3://{self.bucket} at {self.endpoint}: {fault}"
            if isinstance(fault, ObjectMissing):
                raise StoreObjectMissing(message) from None
            many = isinstance(fault, TransientFault) and self._tries > 1
            times = f", {self._tries} times in a row" if many else ""
            raise NetworkError(f"{message}{times}. {self._variables}") from None


def local_path(uri: str) -> Path | None:
    """Return the local path that a URI names: ``file:///a/b`` or a plain path; None for any other scheme.

    >>> local_path("file:///data/my%20model.pth")
    PosixPath('/data/my model.pth')

    Raises:
        ConfigError: a ``file://`` URI of another machine.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return Path(uri).expanduser()
    if scheme.lower() != "file":
        return None
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"{uri!r} names a file of the machine {parts.netloc!r}; write file:///{parts.netloc}..."
        )
    return Path(unquote(parts.path))


def fetch_uri(uri: str, target: str | Path, prefer: str = "internal") -> Path:
    """Return the file that a URI names as a local path; an ``s3://`` object is downloaded to ``target``.

    Args:
        prefer: the store that is asked for a bucket that no store is named for (see :func:`trainer.core.s3.store_of`).

    Raises:
        StoreObjectMissing: there is no such object.
        NetworkError: the store doesn't answer, or refuses.
        ConfigError: another kind of URI.
    """
    path = local_path(uri)
    if path is not None:
        return path
    if not uri.startswith("s3://"):
        raise ConfigError(f"{uri!r}: expected s3://bucket/key, file:///path or a path")
    bucket, key = split_uri(uri)
    return S3Store(bucket, prefer).get(key, target)


def _content_type(key: str) -> str:
    return CONTENT_TYPES.get(Path(key).suffix.lower(), "application/octet-stream")
