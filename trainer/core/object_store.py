"""One bucket of an S3 store: listed, read and written, with retries and typed faults.

Which store holds a bucket, and with which keys, is decided by :mod:`trainer.core.s3`. boto3 is imported when a store is
opened.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from trainer.core import remote_content
from trainer.core.remote_content import RemoteContent
from trainer.core.remote_faults import (
    BucketMissing,
    CredentialsMissing,
    FileChanged,
    InvalidBucketName,
    ObjectMissing,
    RemoteFault,
    RequestRefused,
    StoreMisconfigured,
    TransientFault,
)
from trainer.core.retry import RetryPolicy
from trainer.core.s3 import client, endpoint_variable, key_variables
from trainer.core.secrets import mask_urls

PART_BYTES = 16 << 20  # larger files are uploaded in parts of this size
PAGE_KEYS = 1000  # the most that stores list at a time
UPLOAD_THREADS = 4
_BUSY = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "TooManyRequests")

T = TypeVar("T")


@dataclass(frozen=True)
class StoredObject:
    """An object in a store.

    Attributes:
        key: its name in the bucket.
        size: bytes.
        etag: changes when the content does.
    """

    key: str
    size: int
    etag: str


class ObjectStore:
    """One bucket. Every method may be called from any thread.

    All methods but :meth:`open` try again after transient faults, and raise a
    :class:`trainer.core.remote_faults.RemoteFault`: :class:`ObjectMissing`, :class:`BucketMissing`, and so on.

    Args:
        bucket: its name.
        prefer: the store that is asked for a bucket that no store is named for: ``internal`` or ``external``.
        policy: how often a request is tried.
        options: of botocore's ``Config``.

    Raises:
        ResourceError: boto3 isn't installed.
        StoreMisconfigured: the endpoint is no URL, or the AWS profile doesn't exist.
    """

    def __init__(
        self, bucket: str, prefer: str = "internal", policy: RetryPolicy | None = None, **options: Any
    ) -> None:
        self.bucket = bucket
        self.endpoint_variable = endpoint_variable(bucket, prefer)
        self.key_variables = key_variables(bucket, prefer)
        self._policy = policy or RetryPolicy()
        try:
            # Tries are counted here, with longer pauses than botocore makes.
            self._client = client(bucket, prefer, retries={"total_max_attempts": 1}, **options)
        except ValueError:
            raise StoreMisconfigured(f"{self.endpoint_variable} is no URL (http://host:port)") from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "botocore":
                raise
            raise StoreMisconfigured(_one_line(error)) from None
        self.endpoint = mask_urls(str(self._client.meta.endpoint_url))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose key begins with ``prefix``, in the order of their keys, page by page."""
        token: dict[str, str] = {}
        while True:
            page = self._call(functools.partial(self._page, prefix, token))
            for entry in page.get("Contents", ()):
                yield StoredObject(entry["Key"], entry["Size"], entry.get("ETag", ""))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def head(self, key: str) -> StoredObject:
        """Ask for an object's size and ETag."""
        answer = self._call(lambda: self._client.head_object(Bucket=self.bucket, Key=key))
        return StoredObject(key, answer["ContentLength"], answer.get("ETag", ""))

    @contextmanager
    def open(self, key: str, start: int = 0, etag: str | None = None) -> Iterator[RemoteContent]:
        """Open an object's content from byte ``start`` on, once; the store may begin at 0 all the same.

        Args:
            key: the object.
            start: the first byte.
            etag: what the object's ETag has to be; None for any.

        Raises:
            FileChanged: the ETag is another one, or the object ends before ``start``.
        """
        span = {"Range": f"bytes={start}-"} if start else {}
        with self.faults():
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **span)
        with closing(answer["Body"]) as body:
            tag = answer.get("ETag", "")
            if etag is not None and tag != etag:
                raise FileChanged("the object has changed")
            if not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-"):
                start = 0
            size = start + answer["ContentLength"]
            yield RemoteContent(start, size, tag or None, self._chunks(body), _md5(answer))

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        return self._call(lambda: bytes(self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()))

    def download(self, key: str, open_file: Callable[[], Any]) -> None:
        """Write an object's content into the binary file that the context manager ``open_file()`` gives."""

        def fetch() -> None:
            with open_file() as file:
                self._client.download_fileobj(self.bucket, key, file)

        self._call(fetch)

    def upload(self, path: Path, key: str, content_type: str) -> None:
        """Upload a file, a large one in parts; under its key it is complete or doesn't exist."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=UPLOAD_THREADS
        )
        extra = {"ContentType": content_type}
        self._call(
            lambda: self._client.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=config)
        )

    def put(self, content: bytes | IO[bytes], key: str, content_type: str) -> None:
        """Store ``content`` under ``key``."""
        request = {"Bucket": self.bucket, "Key": key, "Body": content, "ContentType": content_type}
        self._call(lambda: self._client.put_object(**request))

    def copy(self, source: str, key: str) -> None:
        """Have the store copy an object of this bucket."""
        self._call(lambda: self._client.copy({"Bucket": self.bucket, "Key": source}, self.bucket, key))

    def delete(self, key: str) -> None:
        """Remove an object; none with this key is fine, too."""
        self._call(lambda: self._client.delete_object(Bucket=self.bucket, Key=key))

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Raise boto3's many errors as one :class:`RemoteFault`."""
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
            raise TransientFault(_one_line(inner)) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
            raise CredentialsMissing(f"no credentials; set {self.key_variables}") from None
        except exceptions.ParamValidationError as error:
            raise InvalidBucketName(_one_line(error)) from None
        except (exceptions.BotoCoreError, ResponseParserError, ConnectionError, TimeoutError) as error:
            raise TransientFault(_one_line(error)) from None

    def _call(self, action: Callable[[], T]) -> T:
        def attempt() -> T:
            with self.faults():
                return action()

        return self._policy.call(attempt)

    def _page(self, prefix: str, token: dict[str, str]) -> dict[str, Any]:
        try:
            with self.faults():
                page: dict[str, Any] = self._client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **token
                )
        except ObjectMissing as fault:
            raise BucketMissing(str(fault), fault.status, fault.code) from None
        return page

    def _chunks(self, body: Any) -> Iterator[bytes]:
        try:
            with self.faults():
                yield from body.iter_chunks(remote_content.CHUNK_BYTES)
        except OSError as error:  # the socket's: no file is written here
            raise TransientFault(_one_line(error)) from None


def _md5(answer: dict[str, Any]) -> str | None:
    """The content's MD5: the ETag, but for objects that came in parts or are encrypted with other keys."""
    encrypted = "kms" in str(answer.get("ServerSideEncryption")) or "SSECustomerAlgorithm" in answer
    etag = str(answer.get("ETag", "")).strip('"')
    return etag if len(etag) == 32 and not encrypted else None


def _answer(error: Any) -> RemoteFault:
    """What an answer that is an error means."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"the store answers {status} {code}".rstrip()
    if code == "NoSuchBucket":
        return BucketMissing(text, status, code)
    if status == 404 or code == "NoSuchKey":
        return ObjectMissing(text, status, code)
    if status in (412, 416):
        return FileChanged("the object has changed")
    if status == 429 or status >= 500 or code in _BUSY:
        return TransientFault(text)
    return RequestRefused(text, status, code)


def _one_line(error: BaseException) -> str:
    return mask_urls(" ".join(str(error).split())) or type(error).__name__
