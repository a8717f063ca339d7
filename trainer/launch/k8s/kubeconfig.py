"""Which cluster and namespace are meant: the options, the kubeconfig, or the pod that this runs in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema import KubernetesConfig as Options

_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def namespace_of(options: Options) -> str:
    """The namespace of the option, else of the context, else of the pod that this runs in, else ``default``."""
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    if options.namespace:
        return options.namespace
    try:
        contexts, active = config.list_kube_config_contexts(config_file=_kubeconfig(options))
        if options.context:
            active = next((context for context in contexts if context["name"] == options.context), None)
        name = active["context"].get("namespace") if active else None
    except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError):
        name = (
            _ACCOUNT_NAMESPACE.read_text().strip() if _runs_in_pod() and _ACCOUNT_NAMESPACE.exists() else None
        )
    return str(name or "default")


def connect(options: Options) -> Any:
    """A client for the kubeconfig's cluster, or in a pod without a kubeconfig for the pod's own cluster."""
    import yaml
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    file = _kubeconfig(options)
    try:
        if options.context is None and _runs_in_pod() and not (options.kubeconfig or _has_kubeconfig()):
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
            return client.ApiClient(settings)
        return config.new_client_from_config(config_file=file, context=options.context)
    except ConfigException as error:
        raise ConfigError(f"launcher=kubernetes: {_context_error(options, str(error))}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        where = file or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ConfigError(f"launcher=kubernetes: {where} can't be read as a kubeconfig: {error}") from None


def _context_error(options: Options, error: str) -> str:
    from kubernetes import config

    where = options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        names = [
            context["name"]
            for context in config.list_kube_config_contexts(config_file=_kubeconfig(options))[0]
        ]
    except Exception:  # the error is in ``error`` already
        return (
            f"{error} Name the cluster's kubeconfig: launcher.kubeconfig=<file> or KUBECONFIG (now {where})."
        )
    if options.context and options.context not in names:
        hint = did_you_mean(options.context, names) or f" Contexts: {', '.join(names)}."
        return f"{where} has no context {options.context!r}.{hint}"
    return f"{error} ({where})"


def _kubeconfig(options: Options) -> str | None:
    """The kubeconfig of the option or of KUBECONFIG, which the client itself reads only when it is imported."""
    path = options.kubeconfig or os.environ.get("KUBECONFIG")
    return str(Path(path).expanduser()) if path else None


def _has_kubeconfig() -> bool:
    paths = os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    return any(Path(path).expanduser().exists() for path in paths if path)


def _runs_in_pod() -> bool:
    """Whether this runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ
