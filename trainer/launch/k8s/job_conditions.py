"""The status of a job, read from its Job object and its pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trainer.launch.job_status import CANCELLED as STOP_CODES
from trainer.launch.job_status import JobStatus
from trainer.launch.k8s.api import Object
from trainer.launch.k8s.job_manifest import ATTEMPTS, CANCELLED, CONFIG_ERROR

_END_PHASES = ("Succeeded", "Failed")
_IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
)


def read_status(job: Object, pods: list[Object]) -> JobStatus:
    """How a job is doing.

    Args:
        job: the Job or PyTorchJob.
        pods: its pods, oldest first.
    """
    conditions = _conditions(job)
    active = [pod for pod in pods if _phase(pod) not in _END_PHASES]
    newest = active or pods
    nodes = tuple(dict.fromkeys(name for pod in newest if (name := pod.get("spec", {}).get("nodeName"))))
    common: dict[str, Any] = {"attempts": count_attempts(job, pods), "nodes": nodes}
    if done := conditions.get("Complete") or conditions.get("Succeeded"):
        return JobStatus("finished", 0, since=_time(done.get("lastTransitionTime")), **common)
    if failed := conditions.get("Failed"):
        code, pod_reason = _failure(pods)
        state = "cancelled" if code in STOP_CODES and is_cancelled(job) else "failed"
        reason = _failure_reason(failed, pod_reason)
        return JobStatus(state, code, reason, since=_time(failed.get("lastTransitionTime")), **common)
    if is_cancelled(job):
        if active:
            return JobStatus("running", reason="saving before it ends", since=_start_time(active), **common)
        at = _time(job["metadata"]["annotations"][CANCELLED])
        return JobStatus("cancelled", STOP_CODES[1], since=at, **common)
    if any(_running(pod) for pod in active):
        waiting = [reason for pod in active if not _running(pod) and (reason := _waiting_reason(pod))]
        return JobStatus(
            "running", reason=waiting[0] if waiting else None, since=_start_time(active), **common
        )
    if conditions.get("Suspended") or is_suspended(job):
        return JobStatus("queued", reason="suspended: its queue or a person has to let it start", **common)
    waiting = [reason for pod in active if (reason := _waiting_reason(pod))]
    if not waiting and (last := _failure(pods)[1]):
        waiting = [f"starting again: {last}"]
    since = _time(job["metadata"].get("creationTimestamp"))
    return JobStatus("queued", reason=waiting[0] if waiting else None, since=since, **common)


def count_attempts(job: Object, pods: list[Object]) -> int:
    """How often the job was started: the pods of the first node, and those that were deleted."""
    recorded = int(job["metadata"].get("annotations", {}).get(ATTEMPTS, 0))
    existing = len(first_pods(pods))
    return max(recorded, existing) if is_cancelled(job) else recorded + existing


def is_suspended(job: Object) -> bool:
    """Whether the job is suspended, by this trainer, a queue or a person."""
    spec = job["spec"]
    return bool(spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"))


def is_cancelled(job: Object) -> bool:
    """Whether somebody has cancelled the job, and nobody has resumed it since."""
    return CANCELLED in job["metadata"].get("annotations", {})


def first_pods(pods: list[Object]) -> list[Object]:
    """The pods of the first node, one for each start of the job; their output and exit codes are the job's."""
    return [pod for pod in pods if _is_first(pod)]


def has_ended(pod: Object) -> bool:
    """Whether a pod has ended, in whatever way."""
    return _phase(pod) in _END_PHASES


def _conditions(job: Object) -> dict[str, dict[str, Any]]:
    """The conditions that are true, by type."""
    conditions = job.get("status", {}).get("conditions") or []
    return {condition["type"]: condition for condition in conditions if condition.get("status") == "True"}


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _container_state(pod: Object) -> dict[str, Any]:
    """The state of a pod's container, under ``waiting``, ``running`` or ``terminated``."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: dict[str, Any] = statuses[0].get("state") or {}
    return state


def _running(pod: Object) -> bool:
    return "running" in _container_state(pod)


def _is_first(pod: Object) -> bool:
    meta = pod["metadata"]
    index = meta.get("annotations", {}).get("batch.kubernetes.io/job-completion-index")
    return index == "0" if index is not None else str(meta["name"]).endswith("-master-0")


def _waiting_reason(pod: Object) -> str | None:
    """Why a pod doesn't run yet; None if it does, or nothing is known."""
    name = pod["metadata"]["name"]
    waiting = _container_state(pod).get("waiting", {})
    reason, message = waiting.get("reason"), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        image = pod["spec"]["containers"][0].get("image")
        return f"the image {image} can't be fetched ({reason}: {message}); launcher.image, launcher.image_pull_secrets"
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return f"pod {name} can't start ({reason}: {message})"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node for pod {name} ({condition.get('reason')}: {condition.get('message')})"
    return None


def _failure(pods: list[Object]) -> tuple[int | None, str | None]:
    """The exit code and the reason of the pod that failed first in the last attempt; the others followed it."""
    failed = [(pod, end) for pod in pods if (end := _terminated(pod)) and end.get("exitCode")]
    if not failed:
        statuses = [pod["status"] for pod in pods if _phase(pod) == "Failed" and pod["status"].get("reason")]
        return None, f"{statuses[-1]['reason']}: {statuses[-1].get('message')}" if statuses else None
    newest = {_index(pod): (pod, end) for pod, end in failed}
    # A pod that is stopped because another one failed looks cancelled.
    causes = [pair for pair in newest.values() if pair[1]["exitCode"] not in STOP_CODES]
    pod, end = min(causes or newest.values(), key=lambda pair: str(pair[1].get("finishedAt")))
    return int(end["exitCode"]), _end_reason(pod, end)


def _terminated(pod: Object) -> dict[str, Any] | None:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    last = (statuses[0].get("lastState") or {}).get("terminated")
    return _container_state(pod).get("terminated") or last or None


def _index(pod: Object) -> str:
    """The pod's number in the job, the same over restarts."""
    meta = pod["metadata"]
    return str(meta.get("annotations", {}).get("batch.kubernetes.io/job-completion-index", meta["name"]))


def _end_reason(pod: Object, end: dict[str, Any]) -> str:
    name = pod["metadata"]["name"]
    if end.get("reason") == "OOMKilled":
        limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
        limit = f" of {limits['memory']}" if "memory" in limits else ""
        return f"pod {name} was killed: its memory{limit} was full (OOMKilled); raise launcher.memory_gb"
    lines = [line for line in str(end.get("message") or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"pod {name} ended with exit code {end.get('exitCode')}"


def _failure_reason(condition: dict[str, Any], pod_reason: str | None) -> str | None:
    """The trainer's own reason; the cluster's where that says more."""
    reason = str(condition.get("reason"))
    if reason == "DeadlineExceeded":
        return "its time is over (launcher.time_minutes); resume continues from its checkpoint"
    if reason == "PodFailurePolicy":
        return pod_reason or f"the configuration is wrong (exit code {CONFIG_ERROR})"
    return pod_reason or f"{reason}: {condition.get('message')}"


def _start_time(pods: list[Object]) -> float | None:
    times = [_time(_container_state(pod).get("running", {}).get("startedAt")) for pod in pods]
    return min((time for time in times if time), default=None)


def _time(text: str | None) -> float | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
