"""The cluster through Kubernetes' official client: the few calls that a launcher makes, and errors in words."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.core.errors import ConfigError, NetworkError, ResourceError, TrainerError
from trainer.schema import LauncherConfig as Options

Object = dict[str, Any]

_CUSTOM = {"Job": ("batch", "v1", "jobs"), "PyTorchJob": ("kubeflow.org", "v1", "pytorchjobs")}
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = (10, 60)  # seconds to connect, and to answer
_LONG = (10, 300)  # for what may say nothing for a while
_MERGE = "application/merge-patch+json"


class Api:
    """A cluster's objects of one namespace, as plain dictionaries.

    Attributes:
        namespace: where all of them are.
        patience: seconds that a cluster which doesn't answer is asked again, for what only looks.
    """

    def __init__(self, options: Options, namespace: str | None = None) -> None:
        from kubernetes import client

        self._client = _connect(options)
        self._core = client.CoreV1Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)
        self.namespace = namespace or namespace_of(options)
        self.patience = 0.0

    def create(self, body: Object) -> Object:
        """Make an object.

        Raises:
            ResourceError: it may not be made, or is there already.
            ConfigError: the cluster finds something wrong with it.
        """
        kind, name = body["kind"], body["metadata"]["name"]
        doing = f"{kind} {self.namespace}/{name} can't be made"
        if kind in _CUSTOM:
            call = self._custom.create_namespaced_custom_object
            return self._ask(doing, call, *self._place(kind), body=body)
        call = getattr(self._core, f"create_namespaced_{kind.lower()}")
        return self._ask(doing, call, self.namespace, body)

    def get(self, kind: str, name: str) -> Object | None:
        """An object; None where there is none of that name."""
        doing = f"{kind} {self.namespace}/{name} can't be looked at"
        try:
            if kind in _CUSTOM:
                call = self._custom.get_namespaced_custom_object
                return self._look(doing, call, *self._place(kind), name)
            call = getattr(self._core, f"read_namespaced_{kind.lower()}")
            return self._look(doing, call, name, self.namespace)
        except NotThere:
            return None

    def patch(self, kind: str, name: str, change: Object) -> Object | None:
        """Change fields, null takes them away; None where there is none of that name."""
        doing = f"{kind} {self.namespace}/{name} can't be changed"
        try:
            if kind in _CUSTOM:
                call = self._custom.patch_namespaced_custom_object
                return self._ask(doing, call, *self._place(kind), name, change, _content_type=_MERGE)
            call = getattr(self._core, f"patch_namespaced_{kind.lower()}")
            return self._ask(doing, call, name, self.namespace, change, _content_type=_MERGE)
        except NotThere:
            return None

    def delete(self, kind: str, name: str, *, grace: int | None = None, wait: bool = False) -> None:
        """Take an object away, with all that it owns.

        Args:
            grace: seconds that a pod gets; None: as many as it asks for itself.
            wait: return when what it owns is gone too.
        """
        doing = f"{kind} {self.namespace}/{name} can't be deleted"
        options: dict[str, Any] = {"propagation_policy": "Foreground" if wait else "Background"}
        if grace is not None:
            options["grace_period_seconds"] = grace
        try:
            if kind in _CUSTOM:
                call = self._custom.delete_namespaced_custom_object
                self._ask(doing, call, *self._place(kind), name, **options)
            else:
                call = getattr(self._core, f"delete_namespaced_{kind.lower()}")
                self._ask(doing, call, name, self.namespace, **options)
        except NotThere:
            return
        while wait and self.get(kind, name) is not None:
            time.sleep(0.2)

    def pods(self, label: str) -> list[Object]:
        """The pods that have a label, ``name=value``, oldest first."""
        doing = f"pods of {self.namespace} can't be looked at"
        found = self._look(doing, self._core.list_namespaced_pod, self.namespace, label_selector=label)
        items: list[Object] = found.get("items", [])
        return sorted(items, key=lambda pod: pod["metadata"].get("creationTimestamp", ""))

    def warning(self, name: str) -> str | None:
        """What the cluster last warned of about an object; None too where that may not be asked."""
        try:
            found = self._look(
                "events can't be looked at",
                self._core.list_namespaced_event,
                self.namespace,
                field_selector=f"involvedObject.name={name},type=Warning",
            )
        except ResourceError:
            return None
        last = max(found.get("items", []), key=_event_time, default=None)
        return last and f"{last.get('reason')}: {last.get('message', '').strip()}"

    def log(self, pod: str, container: str, follow: bool) -> Iterator[tuple[str, str]]:
        """What a pod says: (time, line), until it has ended where ``follow``; nothing where it hasn't begun."""
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
                _request_timeout=_LONG if follow else _TIMEOUT,
            )
        except (NotThere, _NotYet):
            return
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=False):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from map(_stamped, whole)
        except HTTPError:
            return  # cut off: whoever follows asks again
        finally:
            response.close()
        if rest:
            yield _stamped(rest)

    def _place(self, kind: str) -> tuple[str, str, str, str]:
        group, version, plural = _CUSTOM[kind]
        return group, version, self.namespace, plural

    def _look(self, doing: str, call: Any, *args: Any, **options: Any) -> Object:
        """As :meth:`_ask`, again and again for ``patience`` seconds where the cluster doesn't answer."""
        until = time.monotonic() + self.patience
        while True:
            try:
                return self._ask(doing, call, *args, **options)
            except NetworkError:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    def _ask(self, doing: str, call: Any, *args: Any, **options: Any) -> Object:
        answer: Object = json.loads(self._call(doing, call, *args, **options).data or b"{}")
        return answer

    def _call(self, doing: str, call: Any, *args: Any, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        options = {"_request_timeout": _TIMEOUT, **options}
        try:
            return call(*args, _preload_content=False, **options)
        except ApiException as error:
            raise _in_words(error, doing, self._client.configuration.host) from None
        except HTTPError as error:
            raise NetworkError(
                f"the cluster at {self._client.configuration.host} doesn't answer ({_cause(error)}); {doing}"
            ) from None


class NotThere(ResourceError):
    """The cluster has no such object, or no such kind of objects."""


class _NotYet(TrainerError):
    """Something isn't so far."""


def namespace_of(options: Options) -> str:
    """The namespace that is meant: the option's, the context's, the pod's that this runs in, ``default``."""
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    if options.namespace:
        return options.namespace
    try:
        contexts, active = config.list_kube_config_contexts(config_file=_file(options))
        found = [one for one in contexts if one["name"] == options.context] if options.context else [active]
        name = found[0]["context"].get("namespace") if found else None
    except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError):
        name = _ACCOUNT.read_text().strip() if _inside() and _ACCOUNT.exists() else None
    return str(name or "default")


def _connect(options: Options) -> Any:
    """A client for the kubeconfig's cluster, or from inside a cluster for that one."""
    import yaml
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    file = _file(options)
    try:
        if options.context is None and _inside() and not (options.kubeconfig or _kubeconfig_there()):
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
            return client.ApiClient(settings)
        return config.new_client_from_config(config_file=file, context=options.context)
    except ConfigException as error:
        raise ConfigError(f"launcher=kubernetes: {_known_contexts(options, str(error))}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        where = file or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ConfigError(f"launcher=kubernetes: {where} can't be read as a kubeconfig: {error}") from None


def _known_contexts(options: Options, error: str) -> str:
    from kubernetes import config

    from trainer.core.errors import did_you_mean

    where = options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        names = [one["name"] for one in config.list_kube_config_contexts(config_file=_file(options))[0]]
    except Exception:  # whatever is wrong with it has been said
        return (
            f"{error} Name the cluster's kubeconfig: launcher.kubeconfig=<file> or KUBECONFIG (now {where})."
        )
    if options.context and options.context not in names:
        hint = did_you_mean(options.context, names) or f" Contexts: {', '.join(names)}."
        return f"{where} has no context {options.context!r}.{hint}"
    return f"{error} ({where})"


def _file(options: Options) -> str | None:
    """The kubeconfig that is named; the client itself looks at the variable once, when it is imported."""
    named = options.kubeconfig or os.environ.get("KUBECONFIG")
    return str(Path(named).expanduser()) if named else None


def _kubeconfig_there() -> bool:
    named = os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    return any(Path(name).expanduser().exists() for name in named if name)


def _inside() -> bool:
    """Whether this runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _in_words(error: Any, doing: str, host: str) -> TrainerError:
    """An API's refusal, as whoever typed the command can use it."""
    said = _message(error.body) or str(error.reason or "")
    if error.status == 401:
        return ResourceError(
            f"{doing}: the cluster at {host} doesn't know who asks (401); log in to it again"
        )
    if error.status == 403:
        return ResourceError(f"{doing}: {said} (403; launchers/kubernetes/rbac.yaml has the rights it takes)")
    if error.status == 404:
        if "could not find the requested resource" in said or "page not found" in said:
            return NotThere(
                f"{doing}: the cluster at {host} has no such kind of objects; is its operator there?"
            )
        return NotThere(f"{doing}: {said}")
    if error.status == 400 and "waiting to start" in said:
        return _NotYet(said)
    if error.status == 409:
        return ResourceError(f"{doing}: {said}")
    if error.status in (400, 422):
        return ConfigError(f"{doing}: {said}")
    if error.status == 429 or error.status >= 500:
        return NetworkError(f"{doing}: the cluster at {host} answers {error.status}: {said}")
    return ResourceError(f"{doing}: {said} ({error.status})")


def _message(body: Any) -> str:
    try:
        found: Mapping[str, Any] = json.loads(body)
        return str(found["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        return text.strip()[:300]


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).rpartition(": ")[2] or type(error).__name__


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _stamped(line: bytes) -> tuple[str, str]:
    stamp, _, text = line.decode("utf-8", "replace").partition(" ")
    return stamp, text
