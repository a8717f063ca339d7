"""A real HTTP server that serves one file, well or badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served, and how.

    Attributes:
        content: the file.
        cut_after: bytes after which the connection is closed, for each request in turn; None for none.
        ranges: whether Range is honoured.
        status: answered to each request in turn instead of the file; None for the file.
        pause: seconds between two pieces of 64 KiB.
        requests: what was asked for: (method, Range header).
        sent: bytes of content that went out.
    """

    content: bytes
    cut_after: list[int | None] = field(default_factory=list)
    ranges: bool = True
    status: list[int | None] = field(default_factory=list)
    pause: float = 0.0
    etag: str = '"one"'
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextmanager
def serving(served: Served, name: str) -> Iterator[Served]:
    """Serve on this machine as long as the block lasts; ``served.url`` is where."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            served.requests.append(("HEAD", None))
            self._head(200, len(served.content))

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.requests.append(("GET", asked))
            status = served.status.pop(0) if served.status else None
            if status:
                self.send_error(status)
                return
            start = int(asked[6:-1]) if asked and served.ranges else 0
            if start and self.headers.get("If-Range") not in (None, served.etag):
                start = 0
            if start >= len(served.content):
                self.send_error(416)
                return
            self._head(206 if start else 200, len(served.content) - start, start)
            cut = served.cut_after.pop(0) if served.cut_after else None
            stop = len(served.content) if cut is None else min(len(served.content), start + cut)
            try:
                for place in range(start, stop, 1 << 16):
                    piece = served.content[place : min(stop, place + (1 << 16))]
                    self.wfile.write(piece)
                    served.sent += len(piece)
                    time.sleep(served.pause)
            except OSError:
                pass  # the reader has been killed

        def _head(self, status: int, length: int, start: int = 0) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", served.etag)
            if status == 206:
                whole = len(served.content)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/models/{name}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
