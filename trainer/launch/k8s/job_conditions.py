"""What a Job's and its pods' status mean, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trainer.launch.job_status import CANCELLED as TOLD_TO_STOP
from trainer.launch.job_status import JobStatus
from trainer.launch.k8s.api import Object
from trainer.launch.k8s.job_manifest import ATTEMPTS, CANCELLED, CONFIG_ERROR

_ENDED = ("Succeeded", "Failed")
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")


def read(job: Object, pods: list[Object]) -> JobStatus:
    """How a job is doing.

    Args:
        pods: the job's, oldest first.
    """
    conditions = _conditions(job)
    active = [pod for pod in pods if _phase(pod) not in _ENDED]
    newest = active or pods
    nodes = tuple(dict.fromkeys(name for pod in newest if (name := pod.get("spec", {}).get("nodeName"))))
    common: dict[str, Any] = {"attempts": attempts(job, pods), "nodes": nodes}
    if done := conditions.get("Complete") or conditions.get("Succeeded"):
        return JobStatus("finished", 0, since=_time(done.get("lastTransitionTime")), **common)
    if failed := conditions.get("Failed"):
        code, why = _failure(pods)
        state = "cancelled" if code in TOLD_TO_STOP and is_cancelled(job) else "failed"
        reason = _why_failed(failed, why)
        return JobStatus(state, code, reason, since=_time(failed.get("lastTransitionTime")), **common)
    if is_cancelled(job):
        if active:
            return JobStatus("running", reason="saving before it ends", since=_started(active), **common)
        at = _time(job["metadata"]["annotations"][CANCELLED])
        return JobStatus("cancelled", TOLD_TO_STOP[1], since=at, **common)
    if any(_running(pod) for pod in active):
        waiting = [reason for pod in active if not _running(pod) and (reason := _why_waiting(pod))]
        return JobStatus("running", reason=waiting[0] if waiting else None, since=_started(active), **common)
    if conditions.get("Suspended") or suspended(job):
        return JobStatus("queued", reason="suspended: its queue, or somebody, lets it start", **common)
    waiting = [reason for pod in active if (reason := _why_waiting(pod))]
    if not waiting and (last := _failure(pods)[1]):
        waiting = [f"starting again: {last}"]
    since = _time(job["metadata"].get("creationTimestamp"))
    return JobStatus("queued", reason=waiting[0] if waiting else None, since=since, **common)


def attempts(job: Object, pods: list[Object]) -> int:
    """How often it was started: by a pod of the first node that is still there, or was before."""
    noted = int(job["metadata"].get("annotations", {}).get(ATTEMPTS, 0))
    here = len(first_pods(pods))
    return max(noted, here) if is_cancelled(job) else noted + here


def suspended(job: Object) -> bool:
    spec = job["spec"]
    return bool(spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"))


def is_cancelled(job: Object) -> bool:
    """Whether it was told to end, and not told to go on since."""
    return CANCELLED in job["metadata"].get("annotations", {})


def first_pods(pods: list[Object]) -> list[Object]:
    """The pods of the first node, which speak for all: one for each time that the job was started."""
    return [pod for pod in pods if _is_first(pod)]


def ended(pod: Object) -> bool:
    return _phase(pod) in _ENDED


def _conditions(one: Object) -> dict[str, dict[str, Any]]:
    """The conditions that hold."""
    found = one.get("status", {}).get("conditions") or []
    return {condition["type"]: condition for condition in found if condition.get("status") == "True"}


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _container(pod: Object) -> dict[str, Any]:
    """The state of a pod's container: waiting, running or terminated."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: dict[str, Any] = statuses[0].get("state") or {}
    return state


def _running(pod: Object) -> bool:
    return "running" in _container(pod)


def _is_first(pod: Object) -> bool:
    meta = pod["metadata"]
    index = meta.get("annotations", {}).get("batch.kubernetes.io/job-completion-index")
    return index == "0" if index is not None else str(meta["name"]).endswith("-master-0")


def _why_waiting(pod: Object) -> str | None:
    """Why a pod doesn't run yet."""
    name = pod["metadata"]["name"]
    waiting = _container(pod).get("waiting", {})
    reason, said = waiting.get("reason"), waiting.get("message", "")
    if reason in _IMAGE:
        image = pod["spec"]["containers"][0].get("image")
        return f"the image {image} can't be fetched ({reason}: {said}); launcher.image, launcher.image_pull_secrets"
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return f"pod {name} can't start ({reason}: {said})"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node for pod {name} ({condition.get('reason')}: {condition.get('message')})"
    return None


def _failure(pods: list[Object]) -> tuple[int | None, str | None]:
    """The exit code and the reason of the pod that failed first in the last round, which the others followed."""
    failed = [(pod, ends) for pod in pods if (ends := _terminated(pod)) and ends.get("exitCode")]
    if not failed:
        gone = [pod for pod in pods if _phase(pod) == "Failed" and pod["status"].get("reason")]
        return (
            (None, f"{gone[-1]['status']['reason']}: {gone[-1]['status'].get('message')}")
            if gone
            else (None, None)
        )
    newest = {_index(pod): (pod, ends) for pod, ends in failed}
    # Told to stop because another one failed, a pod ends as if it were cancelled.
    own = [one for one in newest.values() if one[1]["exitCode"] not in TOLD_TO_STOP]
    pod, ends = min(own or newest.values(), key=lambda one: str(one[1].get("finishedAt")))
    return int(ends["exitCode"]), _why_ended(pod, ends)


def _terminated(pod: Object) -> dict[str, Any] | None:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    found = _container(pod).get("terminated") or (statuses[0].get("lastState") or {}).get("terminated")
    return found or None


def _index(pod: Object) -> str:
    """Which of the job's pods it is, whatever number of times it was made."""
    meta = pod["metadata"]
    return str(meta.get("annotations", {}).get("batch.kubernetes.io/job-completion-index", meta["name"]))


def _why_ended(pod: Object, ends: dict[str, Any]) -> str:
    name = pod["metadata"]["name"]
    if ends.get("reason") == "OOMKilled":
        limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
        most = f" of {limits['memory']}" if "memory" in limits else ""
        return f"pod {name} was killed: its memory{most} was full (OOMKilled); raise launcher.memory_gb"
    lines = [line for line in str(ends.get("message") or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"pod {name} ended with exit code {ends.get('exitCode')}"


def _why_failed(condition: dict[str, Any], why: str | None) -> str | None:
    """The trainer's own reason, with the cluster's where that says more."""
    reason = str(condition.get("reason"))
    if reason == "DeadlineExceeded":
        return "its time is over (launcher.time_minutes); resume goes on from its checkpoint"
    if reason == "PodFailurePolicy":
        return why or f"the configuration is wrong (exit code {CONFIG_ERROR})"
    return why or f"{reason}: {condition.get('message')}"


def _started(pods: list[Object]) -> float | None:
    times = [_time(_container(pod).get("running", {}).get("startedAt")) for pod in pods]
    return min((one for one in times if one), default=None)


def _time(text: str | None) -> float | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
