"""A job as its pods get it: with their folders in place of this machine's, and nothing that is only true here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

from trainer.config.overrides import key_of
from trainer.launch.dry_run import shown_job
from trainer.launch.job import Job
from trainer.launch.k8s.mounts import mounts
from trainer.launch.k8s.pod import ranks
from trainer.schema import KubernetesConfig as Options

# Paths and addresses of this machine; named in launcher.env they travel all the same.
_OF_HERE = {
    *("PYTHONPATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE"),
    *(
        "AWS_SHARED_CREDENTIALS_FILE",
        "DATASET_CACHE_DIR",
        "MODEL_WEIGHTS_DIR",
        "TRAINER_CACHE",
        "TRAINER_WEIGHTS",
    ),
    *("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
}


_LONGEST = 52  # with a pod's number and its five letters at most 63


def name_of(job: Job) -> str:
    """The job's name in the cluster: its id, as DNS takes it."""
    name = re.sub(r"[^a-z0-9]+", "-", job.id.lower()).strip("-") or "run"
    name = name if name[0].isalpha() else f"t-{name}"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 9].rstrip('-')}-{hashlib.sha256(job.id.encode()).hexdigest()[:8]}"
    return name


def far_job(job: Job) -> Job:
    """The job for the pods: where they start, where they write, what of the variables holds there."""
    named = {word.partition("=")[0] for word in job.options.env}
    environment = {
        key: value for key, value in job.environment.items() if key not in _OF_HERE or key in named
    }
    words = list(job.words)
    if job.options.output_dir:
        words = [word for word in words if key_of(word) != "output_dir"]
        words.append(f"output_dir={job.options.output_dir}")
    # The folder is where the Secret is mounted; whoever loads the job puts it in.
    return replace(
        job,
        words=tuple(words),
        cwd=Path("."),  # the pods' workingDir
        environment=environment,
        options=_far_options(job),
        run_dir=Path(str(far_run_dir(job))) if job.run_dir else None,
    )


def _far_options(job: Job) -> Options:
    """The options as torchrun's agents in the pods follow them: all meet on the first node, whose pod has a name."""
    name = name_of(job)
    options = cast(Options, job.options)
    first = f"{name}-0.{name}" if options.kind == "job" else f"{name}-master-0"
    return replace(
        options,
        nproc=ranks(options),
        rdzv_backend="static",  # the first pod is then the first process, whose words are the job's
        rdzv_endpoint=f"{first}:{options.port}",
        rdzv_id=name,
        max_restarts=0,  # the cluster starts pods again
    )


def far_text(job: Job, *, secret: bool) -> str:
    """What ``job.json`` holds for the pods; without secrets where it is only to be shown."""
    far = far_job(job)
    return json.dumps(far.as_dict(), indent=1, ensure_ascii=False) if secret else shown_job(far)


def far_output(job: Job) -> PurePosixPath:
    """The pods' folder of all runs; relative to where they start where that is the image's own folder."""
    if job.options.output_dir:
        return PurePosixPath(job.options.output_dir)
    output = job.folder.parents[1]
    here = os.path.relpath(output, job.cwd)
    typed = any(key_of(word) == "output_dir" and word.partition("=")[2].startswith("/") for word in job.words)
    if typed or here.startswith(".."):
        return PurePosixPath(output.as_posix())
    return PurePosixPath(job.options.workdir or "", here)


def far_run_dir(job: Job) -> PurePosixPath:
    """The run's folder as the pods see it."""
    assert job.run_dir is not None
    return far_output(job) / PurePosixPath(job.run_dir.relative_to(job.folder.parents[1]).as_posix())


def not_kept(job: Job) -> str | None:
    """What to say where a run's folder goes with its pods."""
    output = far_output(job)
    if job.run_dir is None or any(mount.holds(output) for mount in mounts(job.options)):
        return None
    return (
        f"the pods' output_dir {output} is in none of launcher.pvc: what they write goes with them, and a restart "
        "begins anew. Keep it with launcher.pvc=[<claim>:/data/runs] launcher.output_dir=/data/runs"
    )
