"""A job as its pods get it: with their folders in place of this machine's, and nothing that is only true here."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from trainer.config.typed import key_of
from trainer.launch.job import Job
from trainer.launch.k8s.mounts import mounts
from trainer.launch.plan import shown

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
        cwd=Path(job.options.workdir or "."),
        environment=environment,
        run_dir=Path(str(far_run_dir(job))) if job.run_dir else None,
    )


def far_text(job: Job, *, secret: bool) -> str:
    """What ``job.json`` holds for the pods; without secrets where it is only to be shown."""
    far = far_job(job)
    return json.dumps(far.as_dict(), indent=1, ensure_ascii=False) if secret else shown(far)


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
