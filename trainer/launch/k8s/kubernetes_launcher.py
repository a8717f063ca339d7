"""``launcher=kubernetes``: submit, watch, cancel and resume jobs of a cluster."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import yaml

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, ResourceError, TrainerError
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.k8s import job_conditions
from trainer.launch.k8s.api import Api
from trainer.launch.k8s.job_manifest import ATTEMPTS, CANCELLED, CONTAINERS, JOB_LABEL, KINDS, manifests
from trainer.launch.k8s.kubeconfig import namespace_of
from trainer.launch.k8s.mounts import find_mistakes
from trainer.launch.k8s.pod_job import lost_run_warning, pod_run_dir, resource_name
from trainer.launch.k8s.pod_logs import current_output, follow_output
from trainer.launch.launcher import Launcher, prepare_submission, refuse_running
from trainer.schema import KubernetesConfig as Options

_STATUS_FILE = "status.json"  # the status of a job that has ended, since the cluster deletes it in time
_RETRY_SECONDS = 600.0  # how long a command that waits for its job retries while the cluster doesn't answer

logger = logging.getLogger("trainer")


class Kubernetes(Launcher[Options]):
    """Jobs of a Kubernetes cluster; a handle is ``k8s:<namespace>/<job>``.

    A job is cancelled by suspending it: its pods get SIGTERM, save and are deleted. The Job stays, and continues
    when it is resumed.
    """

    requires = ("kubernetes", "kubernetes")
    scheme = "k8s"
    handle_form = "<namespace>/<job>"
    handle_pattern = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
    poll = 1.0

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._api: Api | None = None

    def plan(self, job: Job[Options]) -> DryRun:
        """The manifests, as YAML."""
        _check(job)
        bodies = manifests(job, namespace_of(job.options))
        text = "---\n".join(as_yaml(body) for body in bodies)
        title = "for kubectl apply -f -; secrets in job.json are masked here only"
        return DryRun(job.options.name, (DryRunPart(title, text),))

    def submit(self, job: Job[Options]) -> LaunchedJob:
        """Create the job's objects in the cluster, all or none."""
        _check(job)
        prepare_submission(job)
        api = self._connect(job)
        self._delete_ended(api, resource_name(job))
        (job.folder / _STATUS_FILE).unlink(missing_ok=True)
        created: list[dict[str, Any]] = []
        try:
            for body in manifests(job, api.namespace, secret=True):
                created.append(api.create(body))
        except BaseException:
            for body in reversed(created):
                with suppress(TrainerError):
                    api.delete(body["kind"], body["metadata"]["name"])
            raise
        *parts, top = created
        owner = {name: top[name] for name in ("apiVersion", "kind")}
        owner |= {name: top["metadata"][name] for name in ("name", "uid")}
        for body in parts:  # they are deleted with the Job
            api.patch(body["kind"], body["metadata"]["name"], {"metadata": {"ownerReferences": [owner]}})
        run_dir = {"run_dir": str(pod_run_dir(job))} if job.run_dir else {}
        return record_job(job, Handle(self.scheme, f"{api.namespace}/{resource_name(job)}"), **run_dir)

    def status(self, launched: LaunchedJob) -> JobStatus:
        """The status of the Job and its pods; the last one that was seen if the cluster has deleted them."""
        return self._status(self._locate(launched)[0], launched)

    def _status(self, api: Api, launched: LaunchedJob) -> JobStatus:
        name = _name(launched)
        job = api.get(self._kind, name)
        if job is None:
            status = self._saved_status(launched)
        else:
            pods = api.pods(f"{JOB_LABEL}={name}")
            status = job_conditions.read_status(job, pods)
            if status.state == "queued" and status.reason is None:
                names = [pod["metadata"]["name"] for pod in job_conditions.first_pods(pods)]
                reason = api.warning(names[-1] if names else name)
                status = dataclasses.replace(status, reason=reason)
        facts = launched.facts
        status = dataclasses.replace(status, run_id=facts.get("run_id"), run_dir=facts.get("run_dir"))
        if status.ended and job is not None:
            with suppress(OSError):
                atomic_write(launched.folder / _STATUS_FILE, json.dumps(status.as_dict()) + "\n")
        return status

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """The output of the first node's pods."""
        api, name = self._locate(launched)
        label, container = f"{JOB_LABEL}={name}", CONTAINERS[self.options.kind]
        if not follow:
            yield from current_output(api, api.pods(label), container)
            return
        yield from follow_output(api, label, container, lambda: not self.status(launched).ended)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Suspend the Job, or also kill its pods."""
        # On a connection of its own: a signal's handler may call this during another request.
        api, name = Api(launched.job.options, _namespace(launched)), _name(launched)
        status = self._status(api, launched)
        if status.ended:
            return
        JobNotes(launched.folder).cancel()
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._suspend(api, name, True, {CANCELLED: since, ATTEMPTS: str(status.attempts)})
        if now:
            for pod in api.pods(f"{JOB_LABEL}={name}"):
                api.delete("Pod", pod["metadata"]["name"], grace=0)

    def resume(self, launched: LaunchedJob) -> LaunchedJob:
        """Let a suspended Job continue, or replace one that has ended."""
        api, name = self._locate(launched)
        status = self.status(launched)
        refuse_running(status, launched)
        job = api.get(self._kind, name)
        if job is not None and job_conditions.is_cancelled(job) and job_conditions.is_suspended(job):
            JobNotes(launched.folder).uncancel()
            (launched.folder / _STATUS_FILE).unlink(missing_ok=True)
            existing = len(job_conditions.first_pods(api.pods(f"{JOB_LABEL}={name}")))
            self._suspend(api, name, False, {CANCELLED: None, ATTEMPTS: str(status.attempts - existing)})
            return record_job(launched.job, launched.handle, run_dir=launched.facts.get("run_dir"))
        resumed = self.submit(launched.job)
        api.patch(self._kind, name, {"metadata": {"annotations": {ATTEMPTS: str(status.attempts)}}})
        return resumed

    def wait(self, launched: LaunchedJob) -> int:
        """Print a job's output until it ends; a cluster that doesn't answer is asked again for ten minutes."""
        api, _ = self._locate(launched)
        api.retry_seconds = _RETRY_SECONDS
        return super().wait(launched)

    @property
    def _kind(self) -> str:
        return KINDS[self.options.kind]

    def _delete_ended(self, api: Api, name: str) -> None:
        """Delete a Job of that name which has ended, since it can't be started again."""
        job = api.get(self._kind, name)
        if job is None:
            return
        if not job_conditions.read_status(job, api.pods(f"{JOB_LABEL}={name}")).ended:
            raise ResourceError(f"there is a job k8s:{api.namespace}/{name} already, and it hasn't ended")
        for kind in (self._kind, "Secret", "Service"):
            api.delete(kind, name, wait=True)

    def _suspend(self, api: Api, name: str, suspend: bool, annotations: dict[str, str | None]) -> None:
        """Suspend a Job or let it continue, and set annotations; None removes one."""
        spec: dict[str, Any] = {"suspend": suspend}
        spec = {"runPolicy": spec} if self._kind == "PyTorchJob" else spec
        api.patch(self._kind, name, {"metadata": {"annotations": annotations}, "spec": spec})

    def _connect(self, job: Job[Options], namespace: str | None = None) -> Api:
        if self._api is None or (namespace and self._api.namespace != namespace):
            self._api = Api(job.options, namespace)
        return self._api

    def _locate(self, launched: LaunchedJob) -> tuple[Api, str]:
        """The cluster of a job, and the job's name there."""
        return self._connect(launched.job, _namespace(launched)), _name(launched)

    def _saved_status(self, launched: LaunchedJob) -> JobStatus:
        """How a job ended that the cluster has deleted."""
        with suppress(OSError, ValueError, TypeError):
            content = json.loads((launched.folder / _STATUS_FILE).read_bytes())
            return JobStatus(**{**content, "nodes": tuple(content["nodes"])})
        if JobNotes(launched.folder).cancelled:
            return JobStatus("cancelled", 143)
        return JobStatus(
            "lost",
            reason="the cluster has deleted the job: somebody did, or launcher.ttl_seconds were over",
        )


def _namespace(launched: LaunchedJob) -> str:
    return launched.handle.name.partition("/")[0]


def _name(launched: LaunchedJob) -> str:
    return launched.handle.name.partition("/")[2]


def as_yaml(body: dict[str, Any]) -> str:
    """A manifest as YAML, with strings of several lines as blocks."""
    text: str = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


class _Dumper(yaml.SafeDumper):
    """Dumps strings of several lines as blocks."""


def _represent_string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_string)


def _check(job: Job[Options]) -> None:
    """Raise an error with all mistakes in the options, and warn if the run would be lost."""
    if mistakes := list(find_mistakes(job.options)):
        raise ConfigError("\n".join(mistakes))
    if warning := lost_run_warning(job):
        logger.warning(warning)
