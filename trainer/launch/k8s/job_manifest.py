"""What is applied for a job: a Secret with its words, a Service where several nodes train it, and the Job itself."""

from __future__ import annotations

import re
from typing import Any

from trainer.core.installation import VERSION
from trainer.launch.job import Job
from trainer.launch.k8s.pod import pod_spec, ranks, without_empty
from trainer.launch.k8s.pod_job import far_run_dir, far_text, name_of

PREFIX = "openmmlab-trainer"
OF_JOB = f"{PREFIX}/job"  # the label that all that belongs to a job has
CANCELLED = f"{PREFIX}/cancelled"  # the annotation that says when somebody cancelled it
ATTEMPTS = f"{PREFIX}/attempts"  # how often it was started by pods that are gone
KINDS = {"job": "Job", "pytorchjob": "PyTorchJob"}
CONTAINERS = {"job": "trainer", "pytorchjob": "pytorch"}  # Kubeflow's operator wants its name
CONFIG_ERROR = 2  # the trainer's exit code for what no restart mends


def manifests(job: Job, namespace: str, *, secret: bool = False) -> list[dict[str, Any]]:
    """All that is applied, in order.

    Args:
        secret: with the secrets that the words and variables hold, as it is submitted; masked otherwise.
    """
    options = job.options
    name = name_of(job)
    made = [_secret(job, namespace, far_text(job, secret=secret))]
    if options.nodes > 1 and options.kind == "job":
        made.append(_service(job, namespace))
    spec = _job_spec(job, namespace) if options.kind == "job" else _pytorch_spec(job, namespace)
    version = "batch/v1" if options.kind == "job" else "kubeflow.org/v1"
    about = {**_meta(job, name, namespace), "annotations": _annotations(job)}
    return [*made, {"apiVersion": version, "kind": KINDS[options.kind], "metadata": about, "spec": spec}]


def _meta(job: Job, name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": _labels(job)}


def _labels(job: Job) -> dict[str, str]:
    own = {
        "app.kubernetes.io/name": PREFIX,
        "app.kubernetes.io/managed-by": PREFIX,
        "app.kubernetes.io/version": re.sub(r"[^\w.-]", "-", VERSION),
        OF_JOB: name_of(job),
    }
    return {**{key: str(value) for key, value in job.options.labels.items()}, **own}


def _annotations(job: Job) -> dict[str, str]:
    own = {f"{PREFIX}/title": job.title, f"{PREFIX}/run-id": job.id if job.run_dir else None}
    own[f"{PREFIX}/run-dir"] = str(far_run_dir(job)) if job.run_dir else None
    return without_empty({**{key: str(value) for key, value in job.options.annotations.items()}, **own})


def _secret(job: Job, namespace: str, text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _meta(job, name_of(job), namespace),
        "type": "Opaque",
        "immutable": True,
        "stringData": {"job.json": text},
    }


def _service(job: Job, namespace: str) -> dict[str, Any]:
    """What gives the pods names, before they are ready too: that is when they look for each other."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(job, name_of(job), namespace),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {OF_JOB: name_of(job)},
            "ports": [{"name": "meeting", "port": job.options.port}],
        },
    }


def _template(job: Job, namespace: str, restart: str = "Never") -> dict[str, Any]:
    options, name = job.options, name_of(job)
    spec = pod_spec(
        options,
        handle=f"k8s:{namespace}/{name}",
        secret=name,
        container=CONTAINERS[options.kind],
        restart=restart,
        # Which node's agent it is, by torchrun's own name for that; Kubeflow's operator says it itself.
        more=[_node_rank()] if options.nodes > 1 and options.kind == "job" else [],
    )
    if options.nodes > 1 and options.kind == "job":
        spec["subdomain"] = name
    about = {"labels": _labels(job), "annotations": _annotations(job)}
    return {"metadata": about, "spec": spec}


def _node_rank() -> dict[str, Any]:
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}}


def _job_spec(job: Job, namespace: str) -> dict[str, Any]:
    options = job.options
    rules = [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINERS["job"], "operator": "In", "values": [CONFIG_ERROR]},
        },
        # Preempted, drained, evicted: none of the trainer's failures; it goes on from its checkpoint elsewhere.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    spec = {
        "completionMode": "Indexed",
        "completions": options.nodes,
        "parallelism": options.nodes,
        # When one of several pods fails the others do too, and each is counted.
        "backoffLimit": options.max_restarts * options.nodes,
        "podFailurePolicy": {"rules": rules},
        "activeDeadlineSeconds": _seconds(options.time_minutes),
        "ttlSecondsAfterFinished": options.ttl_seconds,
        "template": _template(job, namespace),
    }
    return without_empty(spec)


def _pytorch_spec(job: Job, namespace: str) -> dict[str, Any]:
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
        "nprocPerNode": str(ranks(options)),
        "runPolicy": {"cleanPodPolicy": "Running", **without_empty(policy)},
        "pytorchReplicaSpecs": {
            kind: {"replicas": count, "restartPolicy": restart, "template": template}
            for kind, count in replicas.items()
            if count
        },
    }


def _seconds(minutes: float | None) -> int | None:
    return None if minutes is None else max(1, round(minutes * 60))
