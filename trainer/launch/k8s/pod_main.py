"""``python -m trainer.launch.k8s.pod_main <mounted folder>``: what a pod runs.

The job is in a Secret, whose folder can't be written to: it is run from one beside it, which goes with the pod.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from trainer.launch import file_signals
from trainer.launch.job import FILE, Job

# Kubeflow's operator numbers pods as if each were one process.
_OF_THE_OPERATOR = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def main(mounted: str) -> int:
    """Run the mounted job, through torchrun where its training has several processes. Returns its exit code."""
    for name in _OF_THE_OPERATOR:
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="openmmlab-trainer-"))
    (folder / FILE).symlink_to(Path(mounted).absolute() / FILE)
    job = Job.load(folder)
    if job.command == "train" and job.options.nodes * int(job.options.nproc) > 1:
        from trainer.launch import torchrun_supervisor

        return torchrun_supervisor.main(str(folder))
    from trainer.launch import job_main

    # What a sweep's driver has to say lies in the job's own folder, which the pods may share.
    if (shared := Path(json.loads((folder / FILE).read_bytes())["folder"])).is_dir():
        file_signals.watch_signals(shared)
    return job_main.main(str(folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
