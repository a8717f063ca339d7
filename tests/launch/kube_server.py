"""A small API server of Kubernetes: Jobs, PyTorchJobs, Services, Secrets, Pods with their logs, Events; lists,
watches, merge patches, deletes with grace. It keeps state and *runs* the pods, as processes of this machine.

It answers as the real one where the launcher asks, and knows nothing else: 404 for the rest.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError, validate

from tests.launch.kube_cluster import Cluster
from tests.launch.kube_pods import ROOT

TOKEN = "a-token-of-the-cluster"
_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[\w.]+)/v1)/namespaces/(?P<space>[\w-]+)/(?P<kind>\w+)"
    r"(?:/(?P<name>[\w.-]+))?(?:/(?P<sub>\w+))?$"
)
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
_KINDS = {
    "jobs": ("batch", "Job"),
    "pytorchjobs": ("kubeflow.org", "PyTorchJob"),
    "secrets": (None, "Secret"),
    "services": (None, "Service"),
    "pods": (None, "Pod"),
    "events": (None, "Event"),
}


class KubeServer:
    """The server, its cluster, and a kubeconfig for it.

    Who has its token has the rights of ``launchers/kubernetes/rbac.yaml``, and no others.
    ``refuse`` maps a request's beginning, ``POST jobs`` or ``GET``, to the status and message of its answer.
    """

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.refuse: dict[str, tuple[int, str]] = {}
        self.kinds = set(_KINDS)
        self.rights = _rights(ROOT / "launchers/kubernetes/rbac.yaml")
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.cluster.close()

    def kubeconfig(self, path: Path, namespace: str = "team", token: str = TOKEN) -> Path:
        """Write a kubeconfig, as a cluster's administrator hands out."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [
                {"name": "fake", "context": {"cluster": "fake", "user": "me", "namespace": namespace}}
            ],
        }
        path.write_text(yaml.safe_dump(config))
        return path


@contextmanager
def serving(folder: Path) -> Iterator[KubeServer]:
    server = KubeServer(folder)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    server_of: KubeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self, method: str) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        self.body = json.loads(text) if text else {}
        found = _PATH.match(url.path)
        what = f"{method} {found['kind'] if found else url.path}"
        self.server_of.requests.append(what + (f"/{found['sub']}" if found and found["sub"] else ""))
        for begins, (status, message) in self.server_of.refuse.items():
            if what.startswith(begins):
                return self._status(status, message)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._status(401, "Unauthorized")
        if (
            not found
            or found["kind"] not in self.server_of.kinds
            or _KINDS[found["kind"]][0] != found["group"]
        ):
            return self._status(404, "the server could not find the requested resource")
        verb = _VERBS.get(method) or (
            "get" if found["name"] else "watch" if "watch" in self.query else "list"
        )
        resource = f"{found['kind']}/{found['sub']}" if found["sub"] else found["kind"]
        if (verb, found["group"] or "", resource) not in self.server_of.rights:
            return self._status(
                403, f'{resource} is forbidden: User "me" cannot {verb} resource "{resource}"'
            )
        with_name = "one" if found["name"] else "all"
        getattr(self, f"_{method.lower()}_{found['sub'] or with_name}")(
            found["kind"], found["space"], found["name"]
        )

    def _get_all(self, kind: str, space: str, name: str | None) -> None:
        labels, fields = (
            dict(part.split("=") for part in self.query.get(name, "").split(",") if part)
            for name in ("labelSelector", "fieldSelector")
        )
        if self.query.get("watch"):
            return self._watch(kind, space, labels)
        store = self.server_of.cluster.store
        with store.lock:
            items, version = store.all(kind, space, labels), store.version
        items = [one for one in items if all(_field(one, path) == value for path, value in fields.items())]
        self._json(
            200,
            {"kind": f"{_KINDS[kind][1]}List", "metadata": {"resourceVersion": str(version)}, "items": items},
        )

    def _get_one(self, kind: str, space: str, name: str) -> None:
        body = self.server_of.cluster.store.get(kind, space, name)
        self._json(200, body) if body else self._not_found(kind, name)

    def _get_log(self, kind: str, space: str, name: str) -> None:
        container = self.server_of.cluster.containers.get((kind, space, name))
        if self.server_of.cluster.store.get(kind, space, name) is None:
            return self._not_found(kind, name)
        if container is None:
            return self._status(
                400, f'container "trainer" in pod "{name}" is waiting to start: ContainerCreating'
            )
        lines = container.follow(self.query.get("follow") == "true")
        stamps = self.query.get("timestamps") == "true"
        self._stream((f"{time} {line}" if stamps else line) for time, line in lines)

    def _post_all(self, kind: str, space: str, name: str | None) -> None:
        if complaint := _invalid(self.body):
            return self._status(422, f"{_KINDS[kind][1]} is invalid: {complaint}")
        made = self.server_of.cluster.store.create(kind, space, self.body)
        if made is None:
            return self._status(409, f'{kind} "{self.body["metadata"]["name"]}" already exists')
        self._json(201, made)

    def _patch_one(self, kind: str, space: str, name: str) -> None:
        if "merge-patch" not in self.headers["Content-Type"]:
            return self._status(415, f"{self.headers['Content-Type']} is not served here")
        body = self.server_of.cluster.store.change((kind, space, name), self.body)
        self._json(200, body) if body else self._not_found(kind, name)

    def _delete_one(self, kind: str, space: str, name: str) -> None:
        store = self.server_of.cluster.store
        if (body := store.get(kind, space, name)) is None:
            return self._not_found(kind, name)
        options = self.body | self.query
        grace = options.get("gracePeriodSeconds")
        self.server_of.cluster.delete(
            (kind, space, name),
            options.get("propagationPolicy", "Background"),
            None if grace is None else float(grace),
        )
        self._json(200, body)

    def _watch(self, kind: str, space: str, labels: dict[str, str]) -> None:
        store, seen = self.server_of.cluster.store, int(self.query.get("resourceVersion") or 0)
        rounds = range(10 * int(self.query.get("timeoutSeconds") or 300))

        def events(seen: int) -> Iterator[str]:
            for _ in rounds:
                for version, what, body in store.since(seen, kind, space, 0.1):
                    seen = version
                    have = body["metadata"].get("labels", {})
                    if all(have.get(key) == value for key, value in labels.items()):
                        yield json.dumps({"type": what, "object": body})

        self._stream(events(seen))

    def _stream(self, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                data = (line + "\n").encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # whoever asked has gone

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _status(self, code: int, message: str) -> None:
        reason = {
            401: "Unauthorized",
            403: "Forbidden",
            404: "NotFound",
            409: "AlreadyExists",
            422: "Invalid",
        }
        body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
        self._json(code, body | {"reason": reason.get(code, "InternalError")})

    def _not_found(self, kind: str, name: str) -> None:
        self._status(404, f'{kind} "{name}" not found')


def _rights(path: Path) -> set[tuple[str, str, str]]:
    """(verb, group, resource) that a Role allows."""
    role = next(body for body in yaml.safe_load_all(path.read_text()) if body["kind"] == "Role")
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _field(body: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        body = body.get(part, {})
    return body


def _invalid(body: dict[str, Any]) -> str | None:
    """What the published schemas have against an object."""
    try:
        validate(body, "1.37", strict=True)
    except ValidationError as error:
        return str(error.message)
    except SchemaNotFoundError:
        return None  # of an operator
    return None
