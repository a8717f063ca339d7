"""``launcher=kubernetes``: the eight verbs on a cluster."""

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
from trainer.launch.k8s.api import Api, namespace_of
from trainer.launch.k8s.job_manifest import ATTEMPTS, CANCELLED, CONTAINERS, KINDS, OF_JOB, manifests
from trainer.launch.k8s.mounts import mistakes
from trainer.launch.k8s.pod_job import far_run_dir, name_of, not_kept
from trainer.launch.k8s.pod_logs import follow as follow_pods
from trainer.launch.k8s.pod_logs import so_far
from trainer.launch.launcher import Launcher, prepared, refuse_running
from trainer.schema import LauncherConfig as Options

_LAST = "status.json"  # the status of a job that had ended: the cluster forgets it in time
_PATIENCE = 600.0  # seconds that somebody who stays with a job waits for a cluster that doesn't answer

logger = logging.getLogger("trainer")


class Kubernetes(Launcher):
    """``k8s:<namespace>/<job>``.

    A job is cancelled by suspending it: its pods get SIGTERM, save and go, the Job stays, and goes on when it is
    resumed.
    """

    scheme = "k8s"
    poll = 1.0

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._api: Api | None = None

    def plan(self, job: Job) -> DryRun:
        _check(job)
        made = manifests(job, namespace_of(job.options))
        text = "---\n".join(as_yaml(one) for one in made)
        title = "kubectl apply -f - takes this as it is; secrets in job.json are masked here, and sent as they are"
        return DryRun(job.options.name, (DryRunPart(title, text),))

    def submit(self, job: Job) -> LaunchedJob:
        _check(job)
        prepared(job)
        api = self._connected(job)
        self._make_room(api, name_of(job))
        (job.folder / _LAST).unlink(missing_ok=True)
        made: list[dict[str, Any]] = []
        try:
            for body in manifests(job, api.namespace, secret=True):
                made.append(api.create(body))
        except BaseException:
            for body in reversed(made):
                with suppress(TrainerError):
                    api.delete(body["kind"], body["metadata"]["name"])
            raise
        *parts, top = made
        owner = {name: top[name] for name in ("apiVersion", "kind")}
        owner |= {name: top["metadata"][name] for name in ("name", "uid")}
        for body in parts:  # they go when the job does
            api.patch(body["kind"], body["metadata"]["name"], {"metadata": {"ownerReferences": [owner]}})
        run_dir = {"run_dir": str(far_run_dir(job))} if job.run_dir else {}
        return record_job(job, Handle(self.scheme, f"{api.namespace}/{name_of(job)}"), **run_dir)

    def status(self, launched: LaunchedJob) -> JobStatus:
        return self._status(self._found(launched)[0], launched)

    def _status(self, api: Api, launched: LaunchedJob) -> JobStatus:
        name = _name(launched)
        job = api.get(self._kind, name)
        if job is None:
            status = self._remembered(launched)
        else:
            pods = api.pods(f"{OF_JOB}={name}")
            status = job_conditions.read(job, pods)
            if status.state == "queued" and status.reason is None:
                names = [pod["metadata"]["name"] for pod in job_conditions.first_pods(pods)]
                reason = api.warning(names[-1] if names else name)
                status = dataclasses.replace(status, reason=reason)
        facts = launched.facts
        status = dataclasses.replace(status, run_id=facts.get("run_id"), run_dir=facts.get("run_dir"))
        if status.ended and job is not None:
            with suppress(OSError):
                atomic_write(launched.folder / _LAST, json.dumps(status.as_dict()) + "\n")
        return status

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        api, name = self._found(launched)
        label, container = f"{OF_JOB}={name}", CONTAINERS[self.options.kind]
        if not follow:
            yield from so_far(api, api.pods(label), container)
            return
        yield from follow_pods(api, label, container, lambda: not self.status(launched).ended)

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        # A connection of its own: it may be asked for amid a call, by a signal's handler.
        api, name = Api(launched.job.options, _namespace(launched)), _name(launched)
        status = self._status(api, launched)
        if status.ended:
            return
        JobNotes(launched.folder).cancel()
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._suspend(api, name, True, {CANCELLED: since, ATTEMPTS: str(status.attempts)})
        if now:
            for pod in api.pods(f"{OF_JOB}={name}"):
                api.delete("Pod", pod["metadata"]["name"], grace=0)

    def resume(self, launched: LaunchedJob) -> LaunchedJob:
        api, name = self._found(launched)
        status = self.status(launched)
        refuse_running(status, launched)
        job = api.get(self._kind, name)
        if job is not None and job_conditions.is_cancelled(job) and job_conditions.suspended(job):
            JobNotes(launched.folder).uncancel()
            (launched.folder / _LAST).unlink(missing_ok=True)
            here = len(job_conditions.first_pods(api.pods(f"{OF_JOB}={name}")))
            self._suspend(api, name, False, {CANCELLED: None, ATTEMPTS: str(status.attempts - here)})
            return record_job(launched.job, launched.handle, run_dir=launched.facts.get("run_dir"))
        again = self.submit(launched.job)
        api.patch(self._kind, name, {"metadata": {"annotations": {ATTEMPTS: str(status.attempts)}}})
        return again

    def wait(self, launched: LaunchedJob) -> int:
        api, _ = self._found(launched)
        api.patience = _PATIENCE
        return super().wait(launched)

    @property
    def _kind(self) -> str:
        return KINDS[self.options.kind]

    def _make_room(self, api: Api, name: str) -> None:
        """A Job that has ended can't begin again: another one of that name takes its place."""
        job = api.get(self._kind, name)
        if job is None:
            return
        if not job_conditions.read(job, api.pods(f"{OF_JOB}={name}")).ended:
            raise ResourceError(f"there is a job k8s:{api.namespace}/{name} already, and it hasn't ended")
        for kind in (self._kind, "Secret", "Service"):
            api.delete(kind, name, wait=True)

    def _suspend(self, api: Api, name: str, suspend: bool, notes: dict[str, str | None]) -> None:
        """Suspend the job, or let it go on, with annotations that say so; None takes one away."""
        spec: dict[str, Any] = {"suspend": suspend}
        spec = {"runPolicy": spec} if self._kind == "PyTorchJob" else spec
        api.patch(self._kind, name, {"metadata": {"annotations": notes}, "spec": spec})

    def _connected(self, job: Job, namespace: str | None = None) -> Api:
        if self._api is None or (namespace and self._api.namespace != namespace):
            self._api = Api(job.options, namespace)
        return self._api

    def _found(self, launched: LaunchedJob) -> tuple[Api, str]:
        """The cluster of a job, and the job's name there."""
        return self._connected(launched.job, _namespace(launched)), _name(launched)

    def _remembered(self, launched: LaunchedJob) -> JobStatus:
        """How a job ended that the cluster doesn't have any more."""
        with suppress(OSError, ValueError, TypeError):
            found = json.loads((launched.folder / _LAST).read_bytes())
            return JobStatus(**{**found, "nodes": tuple(found["nodes"])})
        if JobNotes(launched.folder).cancelled:
            return JobStatus("cancelled", 143)
        return JobStatus(
            "lost",
            reason="the cluster has no such job any more: somebody deleted it, or its time there ended",
        )


def _namespace(launched: LaunchedJob) -> str:
    return launched.handle.name.partition("/")[0]


def _name(launched: LaunchedJob) -> str:
    return launched.handle.name.partition("/")[2]


def as_yaml(body: dict[str, Any]) -> str:
    """A manifest as people write it: a text of several lines as a block."""
    text: str = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _check(job: Job) -> None:
    """Say all that is wrong with the options, and what would be lost."""
    if found := list(mistakes(job.options)):
        raise ConfigError("\n".join(found))
    if warning := not_kept(job):
        logger.warning(warning)
