"""The controllers of the fake cluster: they make pods for Jobs and PyTorchJobs, count, restart, suspend and clear up
as Kubernetes' own do.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.launch.kube_pods import Container, Machine, now
from tests.launch.kube_store import Key, Store

JOBS = ("jobs", "pytorchjobs")


class Cluster:
    """Objects, and what happens to them.

    ``trouble`` is what befalls new pods: ``ImagePullBackOff``, ``Unschedulable`` (they wait), ``OOMKilled`` (their
    process is killed as soon as it has said a line), ``Nothing`` (none may be made).
    """

    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.machine = Machine(folder)
        self.containers: dict[Key, Container] = {}
        self.trouble: str | None = None
        self.commands: list[list[str]] = []
        self._ended = False
        self._thread = threading.Thread(target=self._control, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        with self.store.lock:
            self.store.lock.notify_all()
        self._thread.join()
        for container in list(self.containers.values()):
            container.kill()
            container.process.wait()

    def delete(self, key: Key, policy: str = "Background", grace: float | None = None) -> None:
        """What a DELETE begins."""
        body = self.store.get(*key)
        if body is None:
            return
        if key[0] == "pods":
            self._end_pod(key, grace)
        elif key[0] in JOBS and policy == "Foreground":
            self.store.change(key, {"metadata": {"deletionTimestamp": now()}})
            for owned in self.store.owned(body["metadata"]["uid"]):
                self.delete(owned)
        else:
            self.store.remove(key)
            if policy != "Orphan":
                for owned in self.store.owned(body["metadata"]["uid"]):
                    self.delete(owned)

    def evict(self, pod: Key) -> None:
        """A node is drained, or somebody of a higher priority needs it."""
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        self.store.change(pod, {"status": {"conditions": [condition]}})
        self._end_pod(pod)

    def _control(self) -> None:
        while not self._ended:
            with self.store.lock:
                jobs = [(key, self.store.get(*key)) for key in list(self.store.objects) if key[0] in JOBS]
            for key, job in jobs:
                if job is not None:
                    with contextlib.suppress(KeyError):  # it went away meanwhile
                        self._reconcile(key, job)
            with self.store.lock:
                self.store.lock.wait(0.1)

    def _reconcile(self, key: Key, job: dict[str, Any]) -> None:
        status, uid = dict(job.get("status", {})), job["metadata"]["uid"]
        owned = self.store.owned(uid)
        if "deletionTimestamp" in job["metadata"]:
            if not owned:
                self.store.remove(key)
            return
        if _true(status, "Complete", "Failed", "Succeeded"):
            return
        pods = [pod for one in owned if one[0] == "pods" and (pod := self.store.get(*one))]
        ended = ("Failed", "Succeeded")
        active = [pod for pod in pods if pod.get("status", {}).get("phase") not in ended]
        going = [pod for pod in active if "deletionTimestamp" not in pod["metadata"]]
        if _suspended(job):
            for pod in going:
                self._end_pod(_key(pod))
            if not active and not _true(status, "Suspended"):
                self._condition(key, "Suspended", "JobSuspended", startTime=None, active=0)
            return
        if _true(status, "Suspended"):
            self._condition(key, "Suspended", "JobResumed", value="False")
        if "startTime" not in status:
            self.store.change(key, {"status": {"startTime": now()}})
        failed = [pod for pod in pods if pod["status"].get("phase") == "Failed" and not _ignored(job, pod)]
        wanted = _wanted(job)
        through = {_index(pod) for pod in pods if pod["status"].get("phase") == "Succeeded"}
        if through >= set(wanted):
            self._finish(key, job, "Complete", "Completed", pods)
        elif any(_hopeless(job, pod) for pod in failed):
            self._finish(key, job, "Failed", "PodFailurePolicy", pods)
        elif len(failed) > _limit(job):
            self._finish(key, job, "Failed", "BackoffLimitExceeded", pods)
        elif _late(job, status):
            self._finish(key, job, "Failed", "DeadlineExceeded", pods)
        else:
            for index in set(wanted) - {_index(pod) for pod in active} - through:
                self._start_pod(key, job, index, wanted[index])

    def _finish(
        self, key: Key, job: dict[str, Any], kind: str, reason: str, pods: list[dict[str, Any]]
    ) -> None:
        if key[0] == "pytorchjobs" and kind == "Complete":
            kind = "Succeeded"
        self._condition(key, kind, reason, completionTime=now() if kind != "Failed" else None)
        for pod in pods:
            if pod["status"].get("phase") in ("Pending", "Running"):
                self._end_pod(_key(pod))

    def _condition(self, key: Key, kind: str, reason: str, value: str = "True", **fields: Any) -> None:
        job = self.store.get(*key)
        if job is None:
            return
        others = [one for one in job.get("status", {}).get("conditions", []) if one["type"] != kind]
        condition = {"type": kind, "status": value, "reason": reason, "message": f"Job: {reason}"}
        self.store.change(
            key, {"status": {"conditions": [*others, condition | {"lastTransitionTime": now()}], **fields}}
        )

    def _start_pod(self, key: Key, job: dict[str, Any], index: str, template: dict[str, Any]) -> None:
        if self.trouble == "Nothing":
            return
        name = job["metadata"]["name"]
        pytorch = key[0] == "pytorchjobs"
        meta = {
            "name": f"{name}-{index}" + ("" if pytorch else f"-{secrets.token_hex(3)[:5]}"),
            "labels": {**template["metadata"].get("labels", {}), "job-name": name},
            "annotations": {**template["metadata"].get("annotations", {})},
            "ownerReferences": [{"kind": job["kind"], "name": name, "uid": job["metadata"]["uid"]}],
        }
        if pytorch:
            self.store.remove(("pods", key[1], str(meta["name"])))
            self.containers.pop(("pods", key[1], str(meta["name"])), None)
        else:
            meta["annotations"]["batch.kubernetes.io/job-completion-index"] = index
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": template["spec"]}
        if self.store.create("pods", key[1], pod | {"status": {"phase": "Pending"}}) is None:
            return
        place: Key = ("pods", key[1], str(meta["name"]))
        if self.trouble == "Unschedulable":
            message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": self.trouble,
                "message": message,
            }
            self.store.change(place, {"status": {"conditions": [condition]}})
        elif self.trouble == "ImagePullBackOff":
            message = f'Back-off pulling image "{pod["spec"]["containers"][0]["image"]}"'
            self._container(place, {"waiting": {"reason": self.trouble, "message": message}}, "Pending")
        else:
            extra = _operator_env(job, index) if pytorch else {}
            threading.Thread(target=self._run_pod, args=(place, extra), daemon=True).start()

    def _run_pod(self, place: Key, extra: dict[str, str]) -> None:
        def secret(name: str) -> dict[str, Any]:
            while (found := self.store.get("secrets", place[1], name)) is None and not self._ended:
                time.sleep(0.05)  # the kubelet tries again
            return found or {"data": {}}

        pod = self.store.get(*place)
        if pod is None:
            return
        self.commands.append(pod["spec"]["containers"][0]["command"])
        container = self.containers[place] = Container(self.machine, pod, extra, secret)
        self.store.change(place, {"spec": {"nodeName": "node-1"}})
        self._container(place, {"running": {"startedAt": now()}}, "Running")
        if "deletionTimestamp" in (self.store.get(*place) or {"metadata": {}})["metadata"]:
            self._end_pod(place)
        if self.trouble == "OOMKilled":
            next(container.follow(True), None)
            container.kill()
        code = container.wait()
        reason = "OOMKilled" if self.trouble == "OOMKilled" else "Completed" if code == 0 else "Error"
        state: dict[str, Any] = {"exitCode": code, "reason": reason, "finishedAt": now()}
        if code and pod["spec"]["containers"][0].get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["message"] = "\n".join(line for _, line in container.follow(True))[-2048:]
        state = {"terminated": state}
        self._container(place, {"running": None, **state}, "Succeeded" if code == 0 else "Failed")
        if "deletionTimestamp" in (self.store.get(*place) or {"metadata": {}})["metadata"]:
            self.containers.pop(place, None)
            self.store.remove(place)

    def _container(self, place: Key, state: dict[str, Any], phase: str) -> None:
        pod = self.store.get(*place)
        if pod is not None:
            name = pod["spec"]["containers"][0]["name"]
            state = {kind: value for kind, value in state.items() if value is not None}
            statuses = [{"name": name, "state": state, "ready": "running" in state, "restartCount": 0}]
            self.store.change(place, {"status": {"phase": phase, "containerStatuses": statuses}})

    def _end_pod(self, place: Key, grace: float | None = None) -> None:
        pod = self.store.get(*place)
        if pod is None:
            return
        container = self.containers.get(place)
        if container is None and "deletionTimestamp" in pod["metadata"]:
            return
        self.store.change(place, {"metadata": {"deletionTimestamp": now()}})
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded") or (
            container is None and self.trouble
        ):
            self.store.remove(place)
        elif container is not None:
            seconds = grace if grace is not None else pod["spec"].get("terminationGracePeriodSeconds", 30)
            container.stop(seconds) if seconds else container.kill()


def _key(pod: dict[str, Any]) -> Key:
    return ("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])


def _true(status: dict[str, Any], *kinds: str) -> bool:
    return any(one["type"] in kinds and one["status"] == "True" for one in status.get("conditions", []))


def _suspended(job: dict[str, Any]) -> bool:
    spec = job["spec"].get("runPolicy", {}) if job["kind"] == "PyTorchJob" else job["spec"]
    return bool(spec.get("suspend"))


def _wanted(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods there should be: their index, their template."""
    if job["kind"] == "Job":
        return {str(index): job["spec"]["template"] for index in range(job["spec"].get("completions", 1))}
    return {
        f"{kind.lower()}-{index}": replicas["template"]
        for kind, replicas in job["spec"]["pytorchReplicaSpecs"].items()
        for index in range(replicas["replicas"])
    }


def _index(pod: dict[str, Any]) -> str:
    meta = pod["metadata"]
    index = meta["annotations"].get("batch.kubernetes.io/job-completion-index")
    return str(index or meta["name"].removeprefix(f"{meta['labels']['job-name']}-"))


def _limit(job: dict[str, Any]) -> int:
    if job["kind"] == "Job":
        return int(job["spec"].get("backoffLimit", 6))
    policies = {one["restartPolicy"] for one in job["spec"]["pytorchReplicaSpecs"].values()}
    return 0 if policies == {"Never"} else int(job["spec"]["runPolicy"].get("backoffLimit", 6))


def _rules(job: dict[str, Any], action: str) -> list[dict[str, Any]]:
    rules = job["spec"].get("podFailurePolicy", {}).get("rules", [])
    return [rule for rule in rules if rule["action"] == action]


def _exit_code(pod: dict[str, Any]) -> int | None:
    statuses = pod["status"].get("containerStatuses", [])
    return statuses[0]["state"].get("terminated", {}).get("exitCode") if statuses else None


def _ignored(job: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Disrupted by the cluster, so that it counts for nothing."""
    types = {one["type"] for one in pod["status"].get("conditions", []) if one["status"] == "True"}
    return any(types & {one["type"] for one in rule["onPodConditions"]} for rule in _rules(job, "Ignore"))


def _hopeless(job: dict[str, Any], pod: dict[str, Any]) -> bool:
    return any(_exit_code(pod) in rule["onExitCodes"]["values"] for rule in _rules(job, "FailJob"))


def _late(job: dict[str, Any], status: dict[str, Any]) -> bool:
    seconds = (job["spec"].get("runPolicy") or job["spec"]).get("activeDeadlineSeconds")
    if seconds is None or "startTime" not in status:
        return False
    begun = datetime.strptime(status["startTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - begun).total_seconds() > seconds


def _operator_env(job: dict[str, Any], index: str) -> dict[str, str]:
    """What Kubeflow's operator tells the pods of a PyTorchJob."""
    indices = sorted(_wanted(job), key=lambda one: (one.startswith("worker"), one))
    master = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    ports = [one["containerPort"] for one in master.get("ports", []) if one["name"] == "pytorchjob-port"]
    port = str(ports[0] if ports else 23456)
    address = f"{job['metadata']['name']}-master-0"
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": port,
        "PET_NNODES": str(len(indices)),
        "PET_NPROC_PER_NODE": str(job["spec"].get("nprocPerNode", "1")),
        "PET_NODE_RANK": str(indices.index(index)),
        "WORLD_SIZE": str(len(indices) * int(job["spec"].get("nprocPerNode", "1"))),
        "RANK": str(indices.index(index)),
        "PYTHONUNBUFFERED": "1",
    }
