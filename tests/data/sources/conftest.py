"""A real S3 server, and a proxy in front of it that counts, fails, stalls and breaks off."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from trainer.data.sources import dataset_cache

moto = pytest.importorskip("moto.server")
BUCKET = "training-datasets"
SECRET = "wJalrXUtnFEMI-not-to-be-seen"
Trouble = Callable[
    [str, str, int], "str | None"
]  # (method, path, how often it was asked for) -> what goes wrong


class Server:
    """The proxy. ``asked`` counts objects read by key; ``trouble`` decides what goes wrong."""

    def __init__(self, behind: tuple[str, int]) -> None:
        self.behind = behind
        self.asked: Counter[str] = Counter()
        self.listed: list[str] = []
        self.trouble: Trouble = lambda method, path, count: None
        self.ranges: list[str] = []
        server = self

        class Handler(_Handler):
            proxy = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def forget(self) -> None:
        self.asked.clear()
        self.ranges.clear()
        self.listed.clear()
        self.trouble = lambda method, path, count: None

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        proxy, key = self.proxy, unquote(self.path.partition("?")[0]).removeprefix(f"/{BUCKET}/")
        if "list-type" in self.path:
            proxy.listed.append(self.path)
        else:
            proxy.asked[key] += 1
        if "Range" in self.headers:
            proxy.ranges.append(self.headers["Range"])
        trouble = proxy.trouble(self.command, key, proxy.asked[key])
        if trouble == "500":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if trouble == "403":
            body = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        connection = http.client.HTTPConnection(*proxy.behind)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        if trouble == "damage" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if trouble == "slow":
            time.sleep(0.3)
        if trouble in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(1.5 if trouble == "stall" else 0)
            self.close_connection = True
            return
        self.wfile.write(body)

    do_HEAD = do_GET


@pytest.fixture(scope="session")
def behind() -> Iterator[tuple[str, int]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it writes a line a request
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture(scope="session")
def proxy(behind: tuple[str, int]) -> Iterator[Server]:
    server = Server(behind)
    yield server
    server.close()


@pytest.fixture
def s3(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The external store, empty; waiting between tries takes next to no time."""
    for name in (
        "INTERNAL_STORAGE_ENDPOINT",
        "DATASET_VERSION_HASH",
        "DATASET_CACHE_DIR",
        "TRAINER_CACHE_GB",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXTERNAL_STORAGE_ENDPOINT", proxy.endpoint)
    monkeypatch.setenv("EXTERNAL_STORAGE_ACCESS_KEY", "me-and-nobody-else")
    monkeypatch.setenv("EXTERNAL_STORAGE_SECRET_KEY", SECRET)
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.01)
    proxy.forget()
    if BUCKET not in backend().buckets:
        backend().create_bucket(BUCKET, "us-east-1")
    yield proxy
    proxy.forget()
    backend().buckets[BUCKET].keys.clear()
    release()


def backend():
    """What the server keeps, reached from inside: thousands of objects in no time."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def put(key: str, content: bytes) -> None:
    backend().put_object(BUCKET, key, content)


def upload(folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            put(f"{prefix}{path.relative_to(folder).as_posix()}", path.read_bytes())


def release() -> None:
    """As if this process had ended: it uses no data set any more."""
    for file in dataset_cache._in_use.values():
        file.close()
    dataset_cache._in_use.clear()
