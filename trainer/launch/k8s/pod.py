"""The pods of a job: what runs in them, with what, as whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from trainer.launch import LAUNCHED
from trainer.launch.k8s.mounts import mounts, tolerations
from trainer.schema import LauncherConfig as Options

JOB_FOLDER = "/etc/openmmlab-trainer"  # where the Secret with job.json is
GIB = 1024**3


def ranks(options: Options) -> int:
    """Processes of a training in each pod: one for each GPU, one without."""
    return (options.gpus or 1) if options.nproc == "auto" else int(options.nproc)


def pod_spec(
    options: Options,
    *,
    handle: str,
    secret: str,
    container: str,
    restart: str = "Never",
    more: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A pod's ``spec``.

    Args:
        handle: what the trainer knows as its launcher's handle.
        secret: the name of the Secret with ``job.json``.
        container: the container's name.
        more: variables besides.
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
        "containers": [_container(options, handle, container, more, names)],
        "volumes": [
            {"name": "job", "secret": {"secretName": secret, "defaultMode": 0o400}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": quantity(options.shm_gb)}},
            *([{"name": "work", "emptyDir": {}}] if _work_is_empty(options) else []),
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in names.items()),
        ],
    }
    return without_empty(spec)


def without_empty(spec: dict[str, Any]) -> dict[str, Any]:
    """A mapping without what says nothing."""
    return {key: value for key, value in spec.items() if value not in (None, {}, [])}


def quantity(gigabytes: float) -> str:
    """Memory as Kubernetes writes it."""
    whole = float(gigabytes).is_integer()
    return f"{int(gigabytes)}Gi" if whole else f"{round(gigabytes * GIB / 1024**2)}Mi"


def _container(
    options: Options, handle: str, name: str, more: Sequence[dict[str, Any]], names: dict[str, str]
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
        "command": command(options),
        "workingDir": options.workdir,
        "env": [{"name": LAUNCHED, "value": handle}, *_home(), *more],
        "envFrom": [{"secretRef": {"name": name}} for name in options.env_from],
        # GPUs are asked for by their limit; cores have none, which would only slow the data workers down.
        "resources": without_empty({"requests": {**cpu, **limits}, "limits": limits}),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        # The trainer's last words are its error.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "job", "mountPath": JOB_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *([{"name": "work", "mountPath": options.workdir}] if _work_is_empty(options) else []),
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


def command(options: Options) -> list[str]:
    """What a pod runs; the words are in the Secret, where no list of processes shows them."""
    return [options.python, "-m", "trainer.launch.k8s.pod_main", JOB_FOLDER]


def _work_is_empty(options: Options) -> bool:
    """Whether the folder that it starts in is one of the pod's own: in an image nobody may write anywhere."""
    return options.workdir is not None and not any(
        PurePosixPath(mount.path) in (path := PurePosixPath(options.workdir), *path.parents)
        for mount in mounts(options)
    )


def _home() -> list[dict[str, str]]:
    """Folders that any user may write to, also one without an entry in the image."""
    return [
        {"name": name, "value": value}
        for name, value in (("HOME", "/tmp"), ("MPLCONFIGDIR", "/tmp/matplotlib"), ("PYTHONUNBUFFERED", "1"))
    ]


def _security(user: int | None) -> dict[str, Any]:
    ids = {} if user is None else {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    # Root's files are given to the group once, not at each start: a claim may hold millions.
    policy = {} if user is None else {"fsGroupChangePolicy": "OnRootMismatch"}
    return {"runAsNonRoot": True, **ids, **policy, "seccompProfile": {"type": "RuntimeDefault"}}
