"""A backend to call back: a real HTTP server that keeps every request and fails when it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """What arrived, and how it was answered: ``status`` None for silence, or a closed connection."""

    path: str
    body: Any
    headers: dict[str, str]
    status: int | None = None
    time: float = field(default_factory=time.monotonic)

    @property
    def route(self) -> str:
        """The last part of the path: ``progress``, ``results``, ``completion``, ``logs``."""
        return self.path.rsplit("/", 1)[-1]


Mode = Callable[[Request], "int | tuple[int, dict[str, str]] | None"]
"""How a request is answered: a status (with headers), or None after the mode itself has held or broken it."""


class Receiver:
    """``with Receiver() as backend:`` listens on a port of its own; ``address`` is what callbacks are sent to.

    Attributes:
        requests: everything that arrived, in order.
        mode: asked for the answer to each request; 200 unless a test says otherwise.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.mode: Mode = lambda request: 200
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.free = threading.Event()  # ends the waiting of :meth:`hang`

    def __enter__(self) -> Receiver:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.free.set()
        self.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/v1"

    def start(self) -> Receiver:
        """Listen; after :meth:`stop` on the same port again."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                if len(raw) < length:
                    return
                request = Request(self.path, json.loads(raw), dict(self.headers))
                receiver.requests.append(request)
                answer = receiver.mode(request)
                if answer is None:
                    with contextlib.suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                request.status = status
                content = json.dumps({"success": status < 300, "detail": f"answer {status}"}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def taken(self) -> list[Request]:
        """What was answered with 200."""
        return [one for one in self.requests if one.status == 200]

    def of(self, route: str) -> list[Any]:
        """The bodies of a route that were taken."""
        return [one.body for one in self.taken if one.route == route]

    @property
    def rows(self) -> list[Any]:
        """The progress bodies that append a row, taken."""
        return [body for body in self.of("progress") if body.get("metrics") is not None]

    def hang(self, request: Request) -> None:
        """A mode: no answer for as long as the test goes on."""
        self.free.wait(300)

    def close(self, request: Request) -> None:
        """A mode: the connection is closed without an answer."""


def first(count: int, then: Any, after: Any = 200) -> Mode:
    """A mode: the first ``count`` requests are answered with ``then``, the others with ``after``."""
    left = iter(range(count))

    def mode(request: Request) -> Any:
        answer = then if next(left, None) is not None else after
        return answer(request) if callable(answer) else answer

    return mode


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until a condition holds; what it gives then.

    Raises:
        AssertionError: it didn't in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)
    return found
