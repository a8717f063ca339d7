"""What an API server keeps: objects with their versions, patches, owners, and who watches."""

from __future__ import annotations

import copy
import threading
import uuid
from typing import Any

from tests.launch.kube_pods import now

Key = tuple[str, str, str]  # kind in the plural, namespace, name


class Store:
    """Objects by kind, namespace and name. ``lock`` is held for every change and wakes whoever waits for one."""

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.objects: dict[Key, dict[str, Any]] = {}
        self.history: list[tuple[int, str, Key, dict[str, Any]]] = []

    def get(self, *key: str) -> dict[str, Any] | None:
        with self.lock:
            return copy.deepcopy(self.objects.get(key))  # type: ignore[call-overload, no-any-return]

    def all(self, kind: str, namespace: str, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
        with self.lock:
            return [
                copy.deepcopy(one)
                for (plural, space, _), one in sorted(self.objects.items())
                if (plural, space) == (kind, namespace)
                and all(one["metadata"].get("labels", {}).get(key) == value for key, value in (labels or {}).items())
            ]  # fmt: skip

    def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """None where there is one of that name."""
        body = copy.deepcopy(body)
        key = (kind, namespace, body["metadata"]["name"])
        with self.lock:
            if key in self.objects:
                return None
            body["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
            if kind == "secrets":
                import base64

                plain = body.pop("stringData", {})
                encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
                body["data"] = body.get("data", {}) | encoded
            self._put("ADDED", key, body)
            return copy.deepcopy(body)

    def change(self, key: Key, patch: dict[str, Any]) -> dict[str, Any] | None:
        """A JSON merge patch."""
        with self.lock:
            if key not in self.objects:
                return None
            body = merged(self.objects[key], patch)
            self._put("MODIFIED", key, body)
            return copy.deepcopy(body)

    def remove(self, key: Key) -> None:
        """Take it away, and what it owns."""
        with self.lock:
            body = self.objects.pop(key, None)
            if body is None:
                return
            self._note("DELETED", key, body)

    def owned(self, uid: str) -> list[Key]:
        with self.lock:
            return [
                key
                for key, one in self.objects.items()
                if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", []))
            ]

    def since(
        self, version: int, kind: str, namespace: str, seconds: float
    ) -> list[tuple[int, str, dict[str, Any]]]:
        """What happened after a version; waits until something does, at most so long."""
        with self.lock:
            if not self.history or self.history[-1][0] <= version:
                self.lock.wait(seconds)
            return [
                (number, what, copy.deepcopy(body))
                for number, what, key, body in self.history
                if number > version and key[:2] == (kind, namespace)
            ]

    @property
    def version(self) -> int:
        with self.lock:
            return self.history[-1][0] if self.history else 0

    def _put(self, what: str, key: Key, body: dict[str, Any]) -> None:
        self.objects[key] = body
        self._note(what, key, body)

    def _note(self, what: str, key: Key, body: dict[str, Any]) -> None:
        version = self.version + 1
        body["metadata"]["resourceVersion"] = str(version)
        self.history.append((version, what, key, copy.deepcopy(body)))
        self.lock.notify_all()


def merged(body: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(body) if isinstance(body, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
