"""The cluster through Kubernetes' official client: the few calls that the launcher makes, and readable errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.core.errors import ConfigError, NetworkError, ResourceError, TrainerError
from trainer.launch.k8s.kubeconfig import connect, namespace_of
from trainer.schema import KubernetesConfig as Options

Object = dict[str, Any]

_API_PATHS = {"Job": ("batch", "v1", "jobs"), "PyTorchJob": ("kubeflow.org", "v1", "pytorchjobs")}
_TIMEOUT = (10, 60)  # seconds to connect, and to answer
_LOG_TIMEOUT = (10, 300)  # a log may have no new line for a while
_MERGE_PATCH = "application/merge-patch+json"


class Api:
    """The objects of one namespace of a cluster, as plain dictionaries.

    Attributes:
        namespace: the namespace of all objects.
        retry_seconds: how long reading is retried while the cluster doesn't answer.
    """

    def __init__(self, options: Options, namespace: str | None = None) -> None:
        from kubernetes import client

        self._client = connect(options)
        self._core = client.CoreV1Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)
        self.namespace = namespace or namespace_of(options)
        self.retry_seconds = 0.0

    def create(self, body: Object) -> Object:
        """Create an object.

        Raises:
            ResourceError: the user lacks the right, or the object exists already.
            ConfigError: the cluster finds a mistake in it.
        """
        kind, name = body["kind"], body["metadata"]["name"]
        problem = f"{kind} {self.namespace}/{name} can't be created"
        if kind in _API_PATHS:
            call = self._custom.create_namespaced_custom_object
            return self._request(problem, call, *self._api_path(kind), body=body)
        call = getattr(self._core, f"create_namespaced_{kind.lower()}")
        return self._request(problem, call, self.namespace, body)

    def get(self, kind: str, name: str) -> Object | None:
        """Read an object; None if there is none of that name."""
        problem = f"{kind} {self.namespace}/{name} can't be read"
        try:
            if kind in _API_PATHS:
                call = self._custom.get_namespaced_custom_object
                return self._read(problem, call, *self._api_path(kind), name)
            call = getattr(self._core, f"read_namespaced_{kind.lower()}")
            return self._read(problem, call, name, self.namespace)
        except NotFound:
            return None

    def patch(self, kind: str, name: str, change: Object) -> Object | None:
        """Change fields of an object, or remove those that are null; None if there is none of that name."""
        problem = f"{kind} {self.namespace}/{name} can't be changed"
        try:
            if kind in _API_PATHS:
                call = self._custom.patch_namespaced_custom_object
                return self._request(
                    problem, call, *self._api_path(kind), name, change, _content_type=_MERGE_PATCH
                )
            call = getattr(self._core, f"patch_namespaced_{kind.lower()}")
            return self._request(problem, call, name, self.namespace, change, _content_type=_MERGE_PATCH)
        except NotFound:
            return None

    def delete(self, kind: str, name: str, *, grace: int | None = None, wait: bool = False) -> None:
        """Delete an object, with all objects that it owns.

        Args:
            kind: the object's kind.
            name: the object's name.
            grace: seconds until a pod is killed; None: as many as its own ``spec`` says.
            wait: whether to return only when it and all that it owns are deleted.
        """
        problem = f"{kind} {self.namespace}/{name} can't be deleted"
        options: dict[str, Any] = {"propagation_policy": "Foreground" if wait else "Background"}
        if grace is not None:
            options["grace_period_seconds"] = grace
        try:
            if kind in _API_PATHS:
                call = self._custom.delete_namespaced_custom_object
                self._request(problem, call, *self._api_path(kind), name, **options)
            else:
                call = getattr(self._core, f"delete_namespaced_{kind.lower()}")
                self._request(problem, call, name, self.namespace, **options)
        except NotFound:
            return
        while wait and self.get(kind, name) is not None:
            time.sleep(0.2)

    def pods(self, label: str) -> list[Object]:
        """The pods with a label, ``name=value``, oldest first."""
        problem = f"pods of {self.namespace} can't be listed"
        answer = self._read(problem, self._core.list_namespaced_pod, self.namespace, label_selector=label)
        items: list[Object] = answer.get("items", [])
        return sorted(items, key=lambda pod: pod["metadata"].get("creationTimestamp", ""))

    def warning(self, name: str) -> str | None:
        """The cluster's newest warning about an object; None if there is none, or the user may not read events."""
        try:
            answer = self._read(
                "events can't be read",
                self._core.list_namespaced_event,
                self.namespace,
                field_selector=f"involvedObject.name={name},type=Warning",
            )
        except ResourceError:
            return None
        newest = max(answer.get("items", []), key=_event_time, default=None)
        return newest and f"{newest.get('reason')}: {newest.get('message', '').strip()}"

    def log(self, pod: str, container: str, follow: bool) -> Iterator[tuple[str, str]]:
        """Yield a pod's output as (time stamp, line); nothing if it hasn't started.

        Args:
            pod: the pod's name.
            container: its container's name.
            follow: whether to go on until the pod has ended.
        """
        from urllib3.exceptions import HTTPError

        try:
            response = self._call(
                f"the log of {self.namespace}/{pod} can't be read",
                self._core.read_namespaced_pod_log,
                pod,
                self.namespace,
                container=container,
                follow=follow,
                timestamps=True,
                _request_timeout=_LOG_TIMEOUT if follow else _TIMEOUT,
            )
        except (NotFound, _NotReady):
            return
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=False):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from map(_split_stamp, whole)
        except HTTPError:
            return  # the connection broke: a caller that follows asks again
        finally:
            response.close()
        if rest:
            yield _split_stamp(rest)

    def _api_path(self, kind: str) -> tuple[str, str, str, str]:
        group, version, plural = _API_PATHS[kind]
        return group, version, self.namespace, plural

    def _read(self, problem: str, call: Any, *args: Any, **options: Any) -> Object:
        """Send a request that changes nothing, again for ``retry_seconds`` while the cluster doesn't answer."""
        until = time.monotonic() + self.retry_seconds
        while True:
            try:
                return self._request(problem, call, *args, **options)
            except NetworkError:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    def _request(self, problem: str, call: Any, *args: Any, **options: Any) -> Object:
        """Send a request; ``problem`` says in messages what failed."""
        answer: Object = json.loads(self._call(problem, call, *args, **options).data or b"{}")
        return answer

    def _call(self, problem: str, call: Any, *args: Any, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        options = {"_request_timeout": _TIMEOUT, **options}
        try:
            return call(*args, _preload_content=False, **options)
        except ApiException as error:
            raise _explain(error, problem, self._client.configuration.host) from None
        except HTTPError as error:
            raise NetworkError(
                f"the cluster at {self._client.configuration.host} doesn't answer ({_cause(error)}); {problem}"
            ) from None


class NotFound(ResourceError):
    """The cluster has no such object, or no such kind of objects."""


class _NotReady(TrainerError):
    """A pod hasn't started."""


def _explain(error: Any, problem: str, host: str) -> TrainerError:
    """The error for an API's refusal, with what the user can do about it."""
    message = _message(error.body) or str(error.reason or "")
    if error.status == 401:
        return ResourceError(
            f"{problem}: the cluster at {host} doesn't accept this user's credentials (401); log in to it again"
        )
    if error.status == 403:
        return ResourceError(
            f"{problem}: {message} (403; launchers/kubernetes/rbac.yaml lists the rights that are needed)"
        )
    if error.status == 404:
        if "could not find the requested resource" in message or "page not found" in message:
            return NotFound(
                f"{problem}: the cluster at {host} has no such kind of objects; is its operator installed?"
            )
        return NotFound(f"{problem}: {message}")
    if error.status == 400 and "waiting to start" in message:
        return _NotReady(message)
    if error.status == 409:
        return ResourceError(f"{problem}: {message}")
    if error.status in (400, 422):
        return ConfigError(f"{problem}: {message}")
    if error.status == 429 or error.status >= 500:
        return NetworkError(f"{problem}: the cluster at {host} answers {error.status}: {message}")
    return ResourceError(f"{problem}: {message} ({error.status})")


def _message(body: Any) -> str:
    try:
        content: Mapping[str, Any] = json.loads(body)
        return str(content["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        return text.strip()[:300]


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).rpartition(": ")[2] or type(error).__name__


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _split_stamp(line: bytes) -> tuple[str, str]:
    stamp, _, text = line.decode("utf-8", "replace").partition(" ")
    return stamp, text
