"""The manifests of a job: a Secret with its arguments, a Service where several nodes train, and the Job itself."""

from __future__ import annotations

import re
from typing import Any

from trainer.core.installation import VERSION
from trainer.launch.job import Job
from trainer.launch.k8s.pod import pod_spec, processes_per_pod, without_empty
from trainer.launch.k8s.pod_job import pod_job_json, pod_run_dir, resource_name
from trainer.schema import KubernetesConfig as Options

PREFIX = "openmmlab-trainer"
JOB_LABEL = f"{PREFIX}/job"  # on every object of a job
CANCELLED = f"{PREFIX}/cancelled"  # annotation: when somebody cancelled the job
ATTEMPTS = f"{PREFIX}/attempts"  # annotation: how often the job was started by pods that were deleted
KINDS = {"job": "Job", "pytorchjob": "PyTorchJob"}
CONTAINERS = {"job": "trainer", "pytorchjob": "pytorch"}  # Kubeflow's operator requires this name
CONFIG_ERROR = 2  # the trainer's exit code of a mistake in the configuration, which a restart can't fix


def manifests(job: Job[Options], namespace: str, *, secret: bool = False) -> list[dict[str, Any]]:
    """All manifests, in the order in which they are applied.

    Args:
        job: the job.
        namespace: the namespace of its objects.
        secret: whether secrets are in them, as they are submitted, rather than masked.
    """
    options = job.options
    name = resource_name(job)
    result = [_secret(job, namespace, pod_job_json(job, secret=secret))]
    if options.nodes > 1 and options.kind == "job":
        result.append(_service(job, namespace))
    spec = _job_spec(job, namespace) if options.kind == "job" else _pytorch_spec(job, namespace)
    version = "batch/v1" if options.kind == "job" else "kubeflow.org/v1"
    metadata = {**_metadata(job, name, namespace), "annotations": _annotations(job)}
    kind = KINDS[options.kind]
    return [*result, {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}]


def _metadata(job: Job[Options], name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": _labels(job)}


def _labels(job: Job[Options]) -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": PREFIX,
        "app.kubernetes.io/managed-by": PREFIX,
        "app.kubernetes.io/version": re.sub(r"[^\w.-]", "-", VERSION),
        JOB_LABEL: resource_name(job),
    }
    return {**{key: str(value) for key, value in job.options.labels.items()}, **labels}


def _annotations(job: Job[Options]) -> dict[str, str]:
    annotations = {
        f"{PREFIX}/title": job.title,
        f"{PREFIX}/run-id": job.id if job.run_dir else None,
        f"{PREFIX}/run-dir": str(pod_run_dir(job)) if job.run_dir else None,
    }
    custom = {key: str(value) for key, value in job.options.annotations.items()}
    return without_empty({**custom, **annotations})


def _secret(job: Job[Options], namespace: str, text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(job, resource_name(job), namespace),
        "type": "Opaque",
        "immutable": True,
        "stringData": {"job.json": text},
    }


def _service(job: Job[Options], namespace: str) -> dict[str, Any]:
    """A headless Service, which gives the pods host names even before they are ready, when they look for each other."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, resource_name(job), namespace),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: resource_name(job)},
            "ports": [{"name": "meeting", "port": job.options.port}],
        },
    }


def _template(job: Job[Options], namespace: str, restart: str = "Never") -> dict[str, Any]:
    options, name = job.options, resource_name(job)
    spec = pod_spec(
        options,
        handle=f"k8s:{namespace}/{name}",
        secret=name,
        container=CONTAINERS[options.kind],
        restart=restart,
        # The node's rank, by torchrun's own variable; Kubeflow's operator sets it itself.
        variables=[_node_rank()] if options.nodes > 1 and options.kind == "job" else [],
    )
    if options.nodes > 1 and options.kind == "job":
        spec["subdomain"] = name
    return {"metadata": {"labels": _labels(job), "annotations": _annotations(job)}, "spec": spec}


def _node_rank() -> dict[str, Any]:
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}}


def _job_spec(job: Job[Options], namespace: str) -> dict[str, Any]:
    options = job.options
    rules = [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINERS["job"], "operator": "In", "values": [CONFIG_ERROR]},
        },
        # Preempted, drained or evicted: no failure of the trainer, which continues from its checkpoint elsewhere.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    spec = {
        "completionMode": "Indexed",
        "completions": options.nodes,
        "parallelism": options.nodes,
        # When one of several pods fails, the others fail too, and each one counts.
        "backoffLimit": options.max_restarts * options.nodes,
        "podFailurePolicy": {"rules": rules},
        "activeDeadlineSeconds": _seconds(options.time_minutes),
        "ttlSecondsAfterFinished": options.ttl_seconds,
        "template": _template(job, namespace),
    }
    return without_empty(spec)


def _pytorch_spec(job: Job[Options], namespace: str) -> dict[str, Any]:
    options = job.options
    restart = "OnFailure" if options.max_restarts else "Never"
    template = _template(job, namespace, restart)
    container = template["spec"]["containers"][0]
    container["ports"] = [{"name": "pytorchjob-port", "containerPort": options.port}]
    replicas = {"Master": 1, "Worker": options.nodes - 1}
    policy = {
        "backoffLimit": options.max_restarts * options.nodes if options.max_restarts else None,
        "activeDeadlineSeconds": _seconds(options.time_minutes),
        "ttlSecondsAfterFinished": options.ttl_seconds,
    }
    return {
        "nprocPerNode": str(processes_per_pod(options)),
        "runPolicy": {"cleanPodPolicy": "Running", **without_empty(policy)},
        "pytorchReplicaSpecs": {
            kind: {"replicas": count, "restartPolicy": restart, "template": template}
            for kind, count in replicas.items()
            if count
        },
    }


def _seconds(minutes: float | None) -> int | None:
    return None if minutes is None else max(1, round(minutes * 60))
