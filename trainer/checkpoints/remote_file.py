"""Reading from servers: a file from some byte on, over HTTP or from S3."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from trainer.core.installation import VERSION
from trainer.core.s3 import client, split_uri

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte


class ConnectionCut(Exception):
    """The connection failed or broke off; another try may go on."""


class RequestRefused(Exception):
    """The server answers, but won't give the file."""


class FileChanged(Exception):
    """The file is another one than the part that is here."""


@dataclass(frozen=True)
class RemoteResponse:
    """A file, or its rest.

    Attributes:
        start: the byte of the file that ``chunks`` begin with.
        size: bytes of the whole file; None when the server doesn't say.
        tag: what changes when the file does (ETag or date); None when the server says none.
        chunks: the content; they raise :class:`ConnectionCut`.
    """

    start: int
    size: int | None
    tag: str | None
    chunks: Iterator[bytes]


@contextmanager
def open_remote(url: str, start: int = 0, tag: str | None = None) -> Iterator[RemoteResponse]:
    """Ask for the file from byte ``start`` on, provided that it is still the one with ``tag``.

    The answer may begin at 0 all the same: servers may ignore what they were asked for.

    Raises:
        Cut, Refused, Changed: see there.
    """
    with _ask_s3(url, start, tag) if url.startswith("s3://") else _ask_http(url, start, tag) as answer:
        yield answer


def current_tag(url: str) -> str | None:
    """The tag that the file has now. Raises as :func:`open_remote`."""
    if url.startswith("s3://"):
        bucket, key = split_uri(url)
        with _s3_errors():
            return client(bucket).head_object(Bucket=bucket, Key=key).get("ETag")
    with _http_errors(), urllib.request.urlopen(_request(url, "HEAD"), timeout=TIMEOUT) as response:
        return _tag(response.headers)


def shown_url(url: str) -> str:
    """A URL as it may be shown and kept: without user, password and query, which may be keys."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# --- HTTP ---------------------------------------------------------------------------------------------------


@contextmanager
def _ask_http(url: str, start: int, tag: str | None) -> Iterator[RemoteResponse]:
    request = _request(url, "GET")
    if start:
        request.add_header("Range", f"bytes={start}-")
        if tag:
            request.add_header("If-Range", tag)
    with _http_errors():
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    with closing(response):
        headers, begin = response.headers, 0
        size = int(headers["Content-Length"]) if (headers["Content-Length"] or "").isdigit() else None
        if response.status == 206:
            span, _, whole = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            begin = int(span.partition("-")[0]) if span.partition("-")[0].isdigit() else start
            size = int(whole) if whole.isdigit() else (begin + size if size is not None else None)
            if begin != start:
                raise FileChanged("the server sends another part than it was asked for")
        yield RemoteResponse(begin, size, _tag(headers), _http_chunks(response))


def _http_chunks(response: Any) -> Iterator[bytes]:
    with _http_errors():
        while chunk := response.read(CHUNK):
            yield chunk


def _request(url: str, method: str) -> urllib.request.Request:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), method=method)
    request.add_header("User-Agent", f"openmmlab-trainer/{VERSION}")
    request.add_header("Accept-Encoding", "identity")  # sizes, ranges and hashes are the file's own
    if user:
        name, _, password = user.partition(":")
        secret = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


def _tag(headers: Any) -> str | None:
    etag = headers.get("ETag")
    # A weak tag can't be asked for with If-Range.
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


@contextmanager
def _http_errors() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise FileChanged("the server has no such part") from None
        reason = f"the server answers {error.code} ({error.reason})"
        raise (ConnectionCut if error.code == 429 or error.code >= 500 else RequestRefused)(reason) from None
    except urllib.error.URLError as error:
        raise ConnectionCut(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        raise ConnectionCut(str(error) or type(error).__name__) from None


# --- S3 -----------------------------------------------------------------------------------------------------


@contextmanager
def _ask_s3(url: str, start: int, tag: str | None) -> Iterator[RemoteResponse]:
    bucket, key = split_uri(url)
    options = {"Range": f"bytes={start}-"} if start else {}
    if start and tag:
        options["IfMatch"] = tag
    with _s3_errors():
        answer = client(bucket).get_object(Bucket=bucket, Key=key, **options)
    with closing(answer["Body"]) as body:
        size = start + answer["ContentLength"]
        yield RemoteResponse(start, size, answer.get("ETag"), _s3_chunks(body))


def _s3_chunks(body: Any) -> Iterator[bytes]:
    with _s3_errors():
        yield from body.iter_chunks(CHUNK)


@contextmanager
def _s3_errors() -> Iterator[None]:
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status in (412, 416):
            raise FileChanged("the object has changed") from None
        raise (ConnectionCut if status == 429 or status >= 500 else RequestRefused)(
            f"the store answers {code}"
        ) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise RequestRefused(
            "no credentials: set INTERNAL_STORAGE_ENDPOINT, INTERNAL_STORAGE_ACCESS_KEY and "
            "INTERNAL_STORAGE_SECRET_KEY (or EXTERNAL_..., or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        ) from None
    except (exceptions.BotoCoreError, OSError) as error:
        raise ConnectionCut(str(error)) from None
