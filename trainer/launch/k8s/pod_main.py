"""``python -m trainer.launch.k8s.pod_main <mounted folder>``: what a pod runs.

The job is in a Secret, whose mounted folder is read-only. It runs from a temporary folder that goes with the pod.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from trainer.launch import file_signals
from trainer.launch.job import FILE, Job
from trainer.schema import KubernetesConfig as Options

# Kubeflow's operator sets them as if each pod were one process.
_OPERATOR_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def main(mounted: str) -> int:
    """Run the mounted job, through torchrun where its training has several processes. Returns its exit code."""
    for name in _OPERATOR_VARIABLES:
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="openmmlab-trainer-"))
    (folder / FILE).symlink_to(Path(mounted).absolute() / FILE)
    job: Job[Options] = Job.load(folder)
    if job.command == "train" and job.options.nodes * int(job.options.nproc) > 1:
        from trainer.launch import torchrun_supervisor

        return torchrun_supervisor.main(str(folder))
    from trainer.launch import job_main

    # A sweep's driver posts signals into the folder that the job was submitted from, if the pods share it.
    if (shared := Path(json.loads((folder / FILE).read_bytes())["folder"])).is_dir():
        file_signals.watch_signals(shared)
    return job_main.main(str(folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
