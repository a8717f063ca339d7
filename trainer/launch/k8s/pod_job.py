"""A job as its pods get it: with their folders in place of this machine's, and nothing that is only true here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from trainer.config.overrides import key_of
from trainer.launch.dry_run import masked_job
from trainer.launch.job import Job
from trainer.launch.k8s.mounts import mounts
from trainer.launch.k8s.pod import processes_per_pod
from trainer.schema import KubernetesConfig as Options

# Paths and addresses of this machine, which don't travel unless launcher.env names them.
_LOCAL_VARIABLES = {
    *("PYTHONPATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE"),
    *("AWS_SHARED_CREDENTIALS_FILE", "DATASET_CACHE_DIR", "MODEL_WEIGHTS_DIR"),
    *("TRAINER_CACHE", "TRAINER_WEIGHTS"),
    *("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
}
_MAX_NAME_LENGTH = 52  # with a pod's number and its suffix of five letters at most 63


def resource_name(job: Job) -> str:
    """The name of the job's objects in the cluster: its id as a DNS label."""
    name = re.sub(r"[^a-z0-9]+", "-", job.id.lower()).strip("-") or "run"
    name = name if name[0].isalpha() else f"t-{name}"
    if len(name) > _MAX_NAME_LENGTH:
        digest = hashlib.sha256(job.id.encode()).hexdigest()[:8]
        name = f"{name[: _MAX_NAME_LENGTH - 9].rstrip('-')}-{digest}"
    return name


def job_for_pods(job: Job[Options]) -> Job[Options]:
    """The job with the pods' folders, and without variables that are only true on this machine."""
    named = {assignment.partition("=")[0] for assignment in job.options.env}
    environment = {
        name: value
        for name, value in job.environment.items()
        if name not in _LOCAL_VARIABLES or name in named
    }
    argv = list(job.argv)
    if job.options.output_dir:
        argv = [word for word in argv if key_of(word) != "output_dir"]
        argv.append(f"output_dir={job.options.output_dir}")
    # ``folder`` is set by Job.load in the pod: it is where the Secret is mounted.
    return replace(
        job,
        argv=tuple(argv),
        cwd=Path("."),  # the pods' workingDir
        environment=environment,
        options=_options_for_pods(job),
        run_dir=Path(str(pod_run_dir(job))) if job.run_dir else None,
    )


def _options_for_pods(job: Job[Options]) -> Options:
    """The options for torchrun's agents in the pods: all meet at the first node, whose pod has a host name."""
    options, name = job.options, resource_name(job)
    first = f"{name}-0.{name}" if options.kind == "job" else f"{name}-master-0"
    return replace(
        options,
        nproc=processes_per_pod(options),
        rdzv_backend="static",  # so that the first pod holds the first process, whose output is the job's
        rdzv_endpoint=f"{first}:{options.port}",
        rdzv_id=name,
        max_restarts=0,  # the cluster restarts pods
    )


def pod_job_json(job: Job[Options], *, secret: bool) -> str:
    """The content of the pods' ``job.json``.

    Args:
        job: the job.
        secret: whether secrets are in it, rather than masked.
    """
    pod_job = job_for_pods(job)
    return json.dumps(pod_job.as_dict(), indent=1, ensure_ascii=False) if secret else masked_job(pod_job)


def pod_output_dir(job: Job[Options]) -> PurePosixPath:
    """The pods' ``output_dir``; relative if the pods start in the image's own working folder."""
    if job.options.output_dir:
        return PurePosixPath(job.options.output_dir)
    output = job.folder.parents[1]
    relative = os.path.relpath(output, job.cwd)
    is_absolute = any(
        key_of(word) == "output_dir" and word.partition("=")[2].startswith("/") for word in job.argv
    )
    if is_absolute or relative.startswith(".."):
        return PurePosixPath(output.as_posix())
    return PurePosixPath(job.options.workdir or "", relative)


def pod_run_dir(job: Job[Options]) -> PurePosixPath:
    """The run directory as the pods see it."""
    assert job.run_dir is not None
    return pod_output_dir(job) / PurePosixPath(job.run_dir.relative_to(job.folder.parents[1]).as_posix())


def lost_run_warning(job: Job[Options]) -> str | None:
    """A warning if the run directory would be deleted with its pods; None if a claim holds it."""
    output = pod_output_dir(job)
    if job.run_dir is None or any(mount.holds(output) for mount in mounts(job.options)):
        return None
    return (
        f"the pods' output_dir {output} is in no claim of launcher.pvc: the run is deleted with its pods, and a "
        "restart begins anew. Keep it with launcher.pvc=[<claim>:/data/runs] launcher.output_dir=/data/runs"
    )
