"""The pods of a job: their command, resources, mounts and rights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from trainer.launch.k8s.mounts import mounts, tolerations
from trainer.launch.variables import LAUNCHED
from trainer.schema import KubernetesConfig as Options

JOB_FOLDER = "/etc/openmmlab-trainer"  # where the Secret with job.json is mounted
GIB = 1024**3


def processes_per_pod(options: Options) -> int:
    """How many processes a training has in each pod: by default one for each GPU, one without GPUs."""
    return (options.gpus or 1) if options.nproc == "auto" else int(options.nproc)


def pod_spec(
    options: Options,
    *,
    handle: str,
    secret: str,
    container: str,
    restart: str = "Never",
    variables: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A pod's ``spec``.

    Args:
        options: the launcher's options.
        handle: the job's handle.
        secret: the name of the Secret with ``job.json``.
        container: the container's name.
        restart: the pod's ``restartPolicy``.
        variables: further variables, as a container's ``env`` has them.
    """
    claims = mounts(options)
    names = {claim: f"claim-{number}" for number, claim in enumerate(dict.fromkeys(m.claim for m in claims))}
    spec: dict[str, Any] = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": options.grace_seconds,
        "enableServiceLinks": False,
        "automountServiceAccountToken": options.service_account is not None,
        "serviceAccountName": options.service_account,
        "priorityClassName": options.priority_class,
        "nodeSelector": {key: str(value) for key, value in options.node_selector.items()},
        "tolerations": tolerations(options),
        "imagePullSecrets": [{"name": name} for name in options.image_pull_secrets],
        "securityContext": _security(options.user),
        "containers": [_container(options, handle, container, variables, names)],
        "volumes": [
            {"name": "job", "secret": {"secretName": secret, "defaultMode": 0o400}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": quantity(options.shm_gb)}},
            *([{"name": "work", "emptyDir": {}}] if _needs_empty_workdir(options) else []),
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in names.items()),
        ],
    }
    return without_empty(spec)


def without_empty(spec: dict[str, Any]) -> dict[str, Any]:
    """A mapping without values that are None, {} or []."""
    return {key: value for key, value in spec.items() if value not in (None, {}, [])}


def quantity(gigabytes: float) -> str:
    """Memory as Kubernetes writes it: ``8Gi``, ``512Mi``."""
    whole = float(gigabytes).is_integer()
    return f"{int(gigabytes)}Gi" if whole else f"{round(gigabytes * GIB / 1024**2)}Mi"


def _container(
    options: Options, handle: str, name: str, variables: Sequence[dict[str, Any]], names: dict[str, str]
) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if options.memory_gb:
        limits["memory"] = quantity(options.memory_gb)
    if options.gpus:
        limits[options.gpu_resource] = str(options.gpus)
    cpu = {"cpu": f"{options.cpus:g}"} if options.cpus else {}
    container: dict[str, Any] = {
        "name": name,
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "command": pod_command(options),
        "workingDir": options.workdir,
        "env": [{"name": LAUNCHED, "value": handle}, *_writable_home(), *variables],
        "envFrom": [{"secretRef": {"name": name}} for name in options.env_from],
        # GPUs are requested by their limit; cores have no limit, which would only slow data loader processes down.
        "resources": without_empty({"requests": {**cpu, **limits}, "limits": limits}),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        # The last lines of the trainer's output are its error.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "job", "mountPath": JOB_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *([{"name": "work", "mountPath": options.workdir}] if _needs_empty_workdir(options) else []),
            *(
                without_empty(
                    {
                        "name": names[mount.claim],
                        "mountPath": mount.path,
                        "subPath": mount.folder,
                        "readOnly": mount.read_only or None,
                    }
                )
                for mount in mounts(options)
            ),
        ],
    }
    return without_empty(container)


def pod_command(options: Options) -> list[str]:
    """What a pod runs. The job's arguments are in the Secret, where no list of processes shows them."""
    return [options.python, "-m", "trainer.launch.k8s.pod_main", JOB_FOLDER]


def _needs_empty_workdir(options: Options) -> bool:
    """Whether the pods get an empty folder to start in, since no user may write into an image's folders."""
    return options.workdir is not None and not any(
        PurePosixPath(mount.path) in (path := PurePosixPath(options.workdir), *path.parents)
        for mount in mounts(options)
    )


def _writable_home() -> list[dict[str, str]]:
    """Variables that lead to folders which any user may write, even one that the image doesn't know."""
    return [
        {"name": name, "value": value}
        for name, value in (("HOME", "/tmp"), ("MPLCONFIGDIR", "/tmp/matplotlib"), ("PYTHONUNBUFFERED", "1"))
    ]


def _security(user: int | None) -> dict[str, Any]:
    ids = {} if user is None else {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    # Files get the group once, not at each start: a claim may hold millions of them.
    policy = {} if user is None else {"fsGroupChangePolicy": "OnRootMismatch"}
    return {"runAsNonRoot": True, **ids, **policy, "seccompProfile": {"type": "RuntimeDefault"}}
