"""A file on a server from some byte on, over HTTP or from S3."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from trainer.core import remote_content
from trainer.core.installation import VERSION
from trainer.core.object_store import ObjectStore
from trainer.core.remote_content import RemoteContent
from trainer.core.remote_faults import FileChanged, RequestRefused, TransientFault
from trainer.core.retry import RetryPolicy
from trainer.core.s3 import split_uri

TIMEOUT = 30.0  # seconds without a byte


@contextmanager
def open_remote(url: str, start: int = 0, tag: str | None = None) -> Iterator[RemoteContent]:
    """Request a file from byte ``start`` on, provided that it is still the one with ``tag``.

    The content may begin at 0 all the same: servers may ignore the range.

    Args:
        url: http, https or s3.
        start: the first byte.
        tag: the file's tag when the bytes before ``start`` were read; None when it isn't known.

    Raises:
        TransientFault: the connection failed; another try may succeed.
        RequestRefused: the server answers, but doesn't give the file.
        FileChanged: the file isn't the one with ``tag`` any more.
    """
    with _open_s3(url, start, tag) if url.startswith("s3://") else _open_http(url, start, tag) as content:
        yield content


def current_tag(url: str) -> str | None:
    """Return the tag that the file has now; None where the server has none. Raises as :func:`open_remote`."""
    if url.startswith("s3://"):
        bucket, key = split_uri(url)
        return ObjectStore(bucket, policy=RetryPolicy(tries=3)).head(key).etag or None
    with _http_errors(), urllib.request.urlopen(_request(url, "HEAD"), timeout=TIMEOUT) as response:
        return _tag(response.headers)


def shown_url(url: str) -> str:
    """Return a URL as it may be shown and stored: without user, password and query, which may be keys.

    >>> shown_url("https://me:secret@example.com/model.pth?token=secret")
    'https://example.com/model.pth'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextmanager
def _open_s3(url: str, start: int, tag: str | None) -> Iterator[RemoteContent]:
    bucket, key = split_uri(url)
    with ObjectStore(bucket).open(key, start, tag) as content:
        yield content


@contextmanager
def _open_http(url: str, start: int, tag: str | None) -> Iterator[RemoteContent]:
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
                raise FileChanged("the server sends another part than requested")
        yield RemoteContent(begin, size, _tag(headers), _http_chunks(response))


def _http_chunks(response: Any) -> Iterator[bytes]:
    with _http_errors():
        while chunk := response.read(remote_content.CHUNK_BYTES):
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
        raise (TransientFault if error.code == 429 or error.code >= 500 else RequestRefused)(reason) from None
    except urllib.error.URLError as error:
        raise TransientFault(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        raise TransientFault(str(error) or type(error).__name__) from None
