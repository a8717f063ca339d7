"""The bucket of a data set: an :class:`ObjectStore` whose faults are worded for who chose ``dataset.path``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from trainer.core.errors import DatasetError, NetworkError
from trainer.core.object_store import ObjectStore, StoredObject
from trainer.core.remote_content import RemoteContent
from trainer.core.remote_faults import (
    BucketMissing,
    CredentialsMissing,
    FileChanged,
    InvalidBucketName,
    ObjectMissing,
    RequestRefused,
    StoreMisconfigured,
    TransientFault,
)
from trainer.core.retry import TRIES, RetryPolicy

THREADS = 16
READ_SECONDS = 30  # without a byte

T = TypeVar("T")


class Bucket:
    """The objects of one bucket. Every method may be called from any thread.

    Args:
        bucket: its name.

    Raises:
        DatasetError: the name contains keys.
        NetworkError: the endpoint is no URL, or the AWS profile doesn't exist.
        ResourceError: boto3 isn't installed.
    """

    def __init__(self, bucket: str) -> None:
        if "@" in bucket:  # not repeated here: what stands before it is a secret
            raise DatasetError(
                "dataset.path: keys don't belong into an s3:// path; set EXTERNAL_STORAGE_ACCESS_KEY and "
                "EXTERNAL_STORAGE_SECRET_KEY"
            )
        self.bucket = bucket
        try:
            self._store = ObjectStore(
                bucket, "external", max_pool_connections=THREADS, read_timeout=READ_SECONDS
            )
        except StoreMisconfigured as fault:
            raise NetworkError(f"s3://{bucket}: {fault}") from None
        self.endpoint = self._store.endpoint

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose key begins with ``prefix``, in the order of their keys.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            DatasetError: there is no such bucket.
        """
        with self._errors():
            yield from self._store.list(prefix)

    def look(self, key: str) -> StoredObject:
        """Return one object. Raises :class:`ObjectMissing`, and as :meth:`listing`."""
        with self._errors():
            return self._store.head(key)

    @contextmanager
    def reading(self, entry: StoredObject, start: int) -> Iterator[RemoteContent]:
        """Open an object's content from byte ``start`` on, once; the store may begin at 0 all the same.

        Raises:
            TransientFault: another try may succeed (see :meth:`again`); iterating over the content raises it, too.
            ObjectMissing: there is no such object.
            DatasetError: the object has changed.
        """
        try:
            with self._store.open(entry.key, start, entry.etag) as content:
                yield content
        except FileChanged:
            raise DatasetError(
                f"s3://{self.bucket}/{entry.key} was changed while the data set was fetched; start again"
            ) from None
        except TransientFault:
            raise
        except RequestRefused:
            with self._errors():
                raise

    def again(
        self,
        action: Callable[[], T],
        progress: Callable[[], int] = lambda: 0,
        **options: Callable[..., object],
    ) -> T:
        """Return what ``action`` returns, tried again after faults (see :meth:`RetryPolicy.call`)."""
        with self._errors():
            return RetryPolicy().call(action, progress=progress, **options)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise faults as errors for the user; an :class:`ObjectMissing` stays what it is."""
        store, uri = self._store, f"s3://{self.bucket}"
        try:
            yield
        except BucketMissing:
            raise DatasetError(
                f"dataset.path: there is no bucket {self.bucket!r} at {self.endpoint}, which "
                f"{store.endpoint_variable} names"
            ) from None
        except ObjectMissing:
            raise
        except InvalidBucketName:
            raise DatasetError(f"dataset.path: {self.bucket!r} can't be a bucket's name") from None
        except CredentialsMissing as fault:
            raise NetworkError(f"{uri}: {fault}") from None
        except RequestRefused as fault:
            if fault.status in (401, 403):
                reason = f"refuses ({fault.code}); check {store.key_variables}"
            else:
                reason = f"answers {fault.status} {fault.code}"
            raise NetworkError(f"{uri}: the store at {self.endpoint} {reason}") from None
        except TransientFault as fault:
            raise NetworkError(
                f"{uri} can't be read from {self.endpoint}: {fault}, {TRIES} tries in a row. "
                f"{store.endpoint_variable} names the store; what is here already is kept for the next start"
            ) from None
