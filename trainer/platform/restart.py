"""A run in the results store, so that a pod that takes a job over goes on where the one before was cut off.

::

    checkpoints/<job>/last.pt  best.pt      what the platform's backend is told about
    checkpoints/<job>/restart.json.gz       what the engine needs besides: run.json, manifest, the event log
    checkpoints/<job>/delivered.json        how far the backend has been told (kept by the sink)

``restart.json.gz`` names a checkpoint's checksum before the file is uploaded and again after it, as
``checkpoints/manifest.json`` does around a rename: whatever is cut off, the file under a name is described.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.platform.stores import Store
from trainer.run import Run


def prefix_of(job_id: int) -> str:
    """``checkpoints/<job>/``: where everything of a training job lies in the results store."""
    return f"checkpoints/{job_id}/"


class Uploads:
    """Brings a run's checkpoints into the results store, from the sink's process, never from the training.

    Args:
        run: the run.
        store: the results store.
        job_id: the platform's number of the job.
    """

    def __init__(self, run: Run, store: Store, job_id: int) -> None:
        self.run, self.store, self.job_id = run, store, job_id

    def upload(self, name: str) -> str:
        """Upload ``checkpoints/<name>.pth`` (``best`` or ``last``), as it is now, to ``checkpoints/<job>/<name>.pt``.

        Returns:
            Its URI.

        Raises:
            NetworkError: the store doesn't answer, or refuses.
            CheckpointError: there is no such checkpoint, or it isn't whole.
        """
        raise NotImplementedError


def restore(run: Run, store: Store, job: dict[str, Any], work: Path) -> bool:
    """Make the run directory that an earlier pod had, from the results store; False where there is nothing to go on
    from. See the module's docstring for what lies there."""
    raise NotImplementedError
