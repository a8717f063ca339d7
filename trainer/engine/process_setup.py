"""What must be settled in a process before its first tensor: devices, repairs, threads."""

from __future__ import annotations

import os

from trainer.core.errors import ResourceError
from trainer.schema import Experiment


def prepare_process(exp: Experiment) -> None:
    """Settle what must be settled before the first tensor: devices, repairs, threads.

    Raises:
        ResourceError: a GPU is asked for and there is none.
    """
    from trainer.core.cpu_budget import set_threads
    from trainer.engine import compat

    if exp.runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_threads()
    compat.apply()
    if exp.runtime.device == "cpu":
        compat.hide_gpus()
    import torch

    if exp.runtime.device == "gpu" and not torch.cuda.is_available():
        raise ResourceError("runtime.device=gpu, but torch sees no GPU; cpu or auto would run here")
