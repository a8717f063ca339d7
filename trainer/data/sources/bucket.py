"""One bucket of an S3 store: listed, asked and read, with faults told apart from what trying again won't mend."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.core.errors import DatasetError, NetworkError, ResourceError
from trainer.core.s3 import client, store_of
from trainer.core.secrets import mask_urls

THREADS = 16
TRIES = 6  # in a row that bring nothing
PAUSE = 0.5  # seconds before the second try, doubled with each further one
READ_SECONDS = 30  # without a byte
_CHUNK = 1 << 18
_BUSY = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "TooManyRequests")

T = TypeVar("T")


class TransferFault(Exception):
    """Something that may go better at the next try."""


class ObjectMissing(Exception):
    """There is no such object."""


@dataclass(frozen=True)
class StoredObject:
    """An object: its key, its size in bytes, and the ETag, which changes when it does."""

    key: str
    size: int
    etag: str


class Bucket:
    """The objects of one bucket. Used from many threads."""

    def __init__(self, bucket: str) -> None:
        if "@" in bucket:  # not repeated here: what stands before it is a secret
            raise DatasetError(
                "dataset.path: keys don't belong into an s3:// path; set EXTERNAL_STORAGE_ACCESS_KEY and "
                "EXTERNAL_STORAGE_SECRET_KEY"
            )
        self.bucket = bucket
        self._kind = store_of(bucket, "external")
        try:
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise ResourceError("s3:// needs boto3: pip install boto3") from None
        try:
            self._client = client(
                bucket,
                "external",
                retries={"total_max_attempts": 1},  # tries are counted here
                max_pool_connections=THREADS,
                read_timeout=READ_SECONDS,
            )
        except ValueError:  # no URL
            raise NetworkError(
                f"s3://{bucket}: {self._endpoint_variable()} is no URL (http://host:port)"
            ) from None
        except BotoCoreError as error:  # a profile that there isn't, or the like
            raise NetworkError(f"s3://{bucket}: {_line(error)}") from None
        self.endpoint = mask_urls(str(self._client.meta.endpoint_url))

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key begins with ``prefix``, page by page, in the order of their keys.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            DatasetError: there is no such bucket.
        """
        token: dict[str, str] = {}
        while True:
            page = self.again(functools.partial(self._page, prefix, token))
            for entry in page.get("Contents", ()):
                yield StoredObject(entry["Key"], entry["Size"], entry.get("ETag", ""))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def look(self, key: str) -> StoredObject:
        """One object. Raises :class:`ObjectMissing`, and as :meth:`listing`."""

        def ask() -> StoredObject:
            with self._errors():
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
            return StoredObject(key, answer["ContentLength"], answer.get("ETag", ""))

        return self.again(ask)

    @contextmanager
    def reading(self, thing: StoredObject, start: int) -> Iterator[tuple[int, bool, Iterator[bytes]]]:
        """(first byte, whether the ETag is the content's MD5, the content) from byte ``start`` or from 0 on.

        Raises:
            Fault, Missing: also the content does.
            DatasetError: it is another object by now.
        """
        span = {"Range": f"bytes={start}-"} if start else {}
        with self._errors():
            answer = self._client.get_object(Bucket=self.bucket, Key=thing.key, **span)
        with closing(answer["Body"]) as body:
            if answer.get("ETag", "") != thing.etag:
                raise DatasetError(
                    f"s3://{self.bucket}/{thing.key} was changed while the data set was fetched; start again"
                )
            begin = (
                start if start and str(answer.get("ContentRange", "")).startswith(f"bytes {start}-") else 0
            )
            encrypted = "kms" in str(answer.get("ServerSideEncryption")) or "SSECustomerAlgorithm" in answer
            plain = len(thing.etag.strip('"')) == 32 and not encrypted
            yield begin, plain, self._chunks(body)

    def again(self, action: Callable[[], T]) -> T:
        """What ``action`` returns, tried again after faults."""
        for attempt in range(TRIES):
            try:
                return action()
            except TransferFault as fault:
                why = str(fault)
            if attempt + 1 < TRIES:
                time.sleep(delay(attempt))
        raise self.gone(why)

    def gone(self, why: str) -> NetworkError:
        """The error after the last try."""
        return NetworkError(
            f"s3://{self.bucket} can't be read from {self.endpoint}: {why}, {TRIES} tries in a row. "
            f"{self._endpoint_variable()} names the store; what is here already is kept for the next start"
        )

    def _page(self, prefix: str, token: dict[str, str]) -> dict[str, Any]:
        try:
            with self._errors():
                found: dict[str, Any] = self._client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, **token
                )
        except ObjectMissing:
            raise self._no_bucket() from None
        return found

    def _chunks(self, body: Any) -> Iterator[bytes]:
        with self._errors():
            yield from body.iter_chunks(_CHUNK)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        try:
            yield
        except exceptions.ClientError as error:
            raise self._answer(error.response) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
            raise NetworkError(f"s3://{self.bucket}: no credentials; set {self._key_variables()}") from None
        except exceptions.ParamValidationError:
            raise DatasetError(f"dataset.path: {self.bucket!r} can't be a bucket's name") from None
        except (exceptions.BotoCoreError, ResponseParserError, OSError) as error:
            raise TransferFault(_line(error)) from None

    def _answer(self, response: dict[str, Any]) -> Exception:
        """What an answer that is an error means."""
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return self._no_bucket()
        if status == 404:
            return ObjectMissing(code)
        if status == 429 or status >= 500 or code in _BUSY:
            return TransferFault(f"the store answers {status} {code}".rstrip())
        if status in (401, 403):
            return NetworkError(
                f"s3://{self.bucket}: the store at {self.endpoint} refuses ({code}); check {self._key_variables()}"
            )
        return NetworkError(f"s3://{self.bucket}: the store at {self.endpoint} answers {status} {code}")

    def _no_bucket(self) -> DatasetError:
        return DatasetError(
            f"dataset.path: there is no bucket {self.bucket!r} at {self.endpoint}, which {self._endpoint_variable()} "
            "names"
        )

    def _endpoint_variable(self) -> str:
        if self._kind:
            return f"{self._kind.upper()}_STORAGE_ENDPOINT"
        return "S3_ENDPOINT" if os.environ.get("S3_ENDPOINT") else "EXTERNAL_STORAGE_ENDPOINT"

    def _key_variables(self) -> str:
        if self._kind:
            prefix = f"{self._kind.upper()}_STORAGE_"
            return f"{prefix}ACCESS_KEY and {prefix}SECRET_KEY"
        return (
            "EXTERNAL_STORAGE_ENDPOINT, EXTERNAL_STORAGE_ACCESS_KEY and EXTERNAL_STORAGE_SECRET_KEY, "
            "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def delay(attempt: int) -> float:
    """Seconds to wait before the next try; not all threads equally long."""
    return PAUSE * 2.0**attempt * random.uniform(0.5, 1.0)


def _line(error: Exception) -> str:
    return mask_urls(" ".join(str(error).split())) or type(error).__name__
