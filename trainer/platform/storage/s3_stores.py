"""The platform's S3 stores, to write into and to read from, and files by any kind of URI.

::

    store = Store()                                   # the internal store's bucket: checkpoints, exports, results
    store.put("last.pth", "checkpoints/42/last.pt")   # -> "s3://training-checkpoints/checkpoints/42/last.pt"

Which store holds which bucket, and with which keys, is :mod:`trainer.core.s3`'s to know. boto3 is imported when a store
is made.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from trainer.core.atomic_files import atomic_file
from trainer.core.errors import ConfigError, NetworkError, ResourceError
from trainer.core.s3 import bucket_of, client, split_uri, store_of
from trainer.core.secrets import mask_urls

TRIES = 6
PAUSE = 0.5  # seconds before the second try, doubled with each further one
PART_BYTES = 16 << 20  # larger files go in parts of so many bytes
THREADS = 4
PAGE_KEYS = 1000  # the most that stores list at a time
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
_BUSY = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "TooManyRequests")

T = TypeVar("T")


class StoreObjectMissing(NetworkError):
    """There is no such object, or no such bucket."""


class S3Store:
    """One bucket. All methods may be called from any thread, and try again where that may help.

    Args:
        bucket: its name; None: that of the internal store, for checkpoints and results.
        prefer: which of the two stores is asked for a bucket that none is named for.
        tries: how often something is tried that fails for now (5xx, 429, no connection).
    """

    def __init__(self, bucket: str | None = None, prefer: str = "internal", tries: int = TRIES) -> None:
        self.bucket = bucket or bucket_of("internal")
        self._kind = store_of(self.bucket, prefer)
        self._tries = tries
        try:
            # Tries are counted here, with longer pauses than botocore makes.
            self._client = client(self.bucket, prefer, retries={"total_max_attempts": 1})
        except ResourceError:
            raise
        except Exception as error:  # no URL; a profile that there isn't
            raise NetworkError(f"s3://{self.bucket}: {_line(error)}; {self._variables()}") from None
        self.endpoint = mask_urls(str(self._client.meta.endpoint_url))

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, path: str | Path, key: str, content_type: str | None = None) -> str:
        """Upload a file, a large one in parts; returns its URI. Under its key it is whole or not there.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            FileNotFoundError: there is no such file.
        """
        from boto3.s3.transfer import TransferConfig

        path = Path(path)
        path.stat()  # boto3 would say less clearly that it isn't there
        kind = content_type or CONTENT_TYPES.get(Path(key).suffix.lower(), "application/octet-stream")
        config = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=THREADS
        )
        self._again(
            f"{path.name} can't be uploaded to",
            lambda: self._client.upload_file(
                str(path), self.bucket, key, ExtraArgs={"ContentType": kind}, Config=config
            ),
        )
        return self.uri(key)

    def put_bytes(self, content: bytes, key: str, content_type: str | None = None) -> str:
        """Store ``content`` under ``key``; returns its URI. Raises as :meth:`put`."""
        kind = content_type or CONTENT_TYPES.get(Path(key).suffix.lower(), "application/octet-stream")
        self._again(
            f"{key} can't be written to",
            lambda: self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=kind),
        )
        return self.uri(key)

    def get(self, key: str, path: str | Path) -> Path:
        """Download an object as the file ``path``, which is whole or not there.

        Raises:
            Missing: there is no such object.
            NetworkError: the store doesn't answer, or refuses.
            OSError: the file can't be written.
        """
        path = Path(path)

        def fetch() -> None:
            with atomic_file(path) as file:
                self._client.download_fileobj(self.bucket, key, file)

        self._again(f"{key} can't be read from", fetch)
        return path

    def read(self, key: str) -> bytes | None:
        """An object's content; None where there is none. Raises NetworkError as :meth:`get`."""
        try:
            return self._again(
                f"{key} can't be read from",
                lambda: bytes(self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()),
            )
        except StoreObjectMissing:
            return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object. Raises NetworkError as :meth:`get`."""
        try:
            self._again(
                f"{key} can't be looked for in",
                lambda: self._client.head_object(Bucket=self.bucket, Key=key),
            )
        except StoreObjectMissing:
            return False
        return True

    def copy(self, source: str, key: str) -> str:
        """Have the store copy an object of this bucket; returns the copy's URI.

        Raises:
            Missing: there is no such object.
            NetworkError: the store doesn't answer, or refuses.
        """
        self._again(
            f"{source} can't be copied in",
            lambda: self._client.copy({"Bucket": self.bucket, "Key": source}, self.bucket, key),
        )
        return self.uri(key)

    def delete(self, key: str) -> None:
        """Remove an object, there or not. Raises NetworkError as :meth:`get`."""
        self._again(
            f"{key} can't be removed from",
            lambda: self._client.delete_object(Bucket=self.bucket, Key=key),
        )

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, bytes) of all objects whose key begins with ``prefix``, in the order of their keys.

        Raises:
            Missing: there is no such bucket.
            NetworkError: the store doesn't answer, or refuses.
        """
        token: dict[str, str] = {}
        while True:
            page = self._again(f"{prefix} can't be listed in", functools.partial(self._page, prefix, token))
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["Size"]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, token: dict[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = self._client.list_objects_v2(
            Bucket=self.bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **token
        )
        return found

    def _again(self, what: str, action: Callable[[], T]) -> T:
        """What ``action`` returns; tried again after faults that may pass."""
        for attempt in range(self._tries):
            try:
                with _faults():
                    return action()
            except _Fault as fault:
                if fault.missing:
                    raise StoreObjectMissing(
                        f"{what} s3://{self.bucket} at {self.endpoint}: {fault}"
                    ) from None
                why, passing = str(fault), fault.passing
            if not passing:
                break
            if attempt + 1 < self._tries:
                time.sleep(PAUSE * 2.0**attempt * random.uniform(0.5, 1.0))
        times = f", {self._tries} times in a row" if passing and self._tries > 1 else ""
        raise NetworkError(f"{what} s3://{self.bucket} at {self.endpoint}: {why}{times}. {self._variables()}")

    def _variables(self) -> str:
        if self._kind is None:
            return "INTERNAL_STORAGE_ENDPOINT, _ACCESS_KEY and _SECRET_KEY name the store"
        name = f"{self._kind.upper()}_STORAGE"
        return f"{name}_ENDPOINT, {name}_ACCESS_KEY and {name}_SECRET_KEY name the store"


def local_path(uri: str) -> Path | None:
    """The local path that a URI names: ``file:///a/b`` or a plain path; None for any other scheme.

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
    """The file that a URI names, as a local path: a plain path or ``file://`` as it is, ``s3://`` downloaded to
    ``target``.

    Args:
        prefer: which store is asked for a bucket that none is named for (see :func:`trainer.core.s3.store_of`).

    Raises:
        Missing: there is no such object.
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


class _Fault(Exception):
    def __init__(self, text: str, *, passing: bool = False, missing: bool = False) -> None:
        super().__init__(text)
        self.passing, self.missing = passing, missing


@contextmanager
def _faults() -> Iterator[None]:
    """boto3's many errors as one, which says whether another try may help."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    try:
        yield
    except exceptions.ClientError as error:
        raise _answer(error) from None
    except Boto3Error as error:  # of a transfer, with the real one in it
        inner = error.__context__ if isinstance(error.__context__, Exception) else error
        if isinstance(inner, exceptions.ClientError):
            raise _answer(inner) from None
        raise _Fault(_line(inner), passing=True) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise _Fault("no credentials") from None
    except exceptions.ParamValidationError as error:
        raise _Fault(_line(error)) from None
    except (exceptions.BotoCoreError, ResponseParserError, ConnectionError, TimeoutError) as error:
        raise _Fault(_line(error), passing=True) from None


def _answer(error: Any) -> _Fault:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"the store answers {status} {code}".rstrip()
    return _Fault(
        text,
        passing=status == 429 or status >= 500 or code in _BUSY,
        missing=status == 404 or code in ("NoSuchKey", "NoSuchBucket"),
    )


def _line(error: BaseException) -> str:
    return mask_urls(" ".join(str(error).split())) or type(error).__name__
