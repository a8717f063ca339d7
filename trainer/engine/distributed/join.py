"""Joining the processes that the environment says train together. Imports no torch where there is only one."""

from __future__ import annotations

import os

from trainer.core.errors import ConfigError, ResourceError
from trainer.engine.distributed.ranks import Ranks
from trainer.schema import Experiment


def join(exp: Experiment) -> Ranks:
    """The processes that the environment says train together; this one alone when it says nothing.

    Raises:
        ConfigError: the environment says it only half.
        ResourceError: the others can't be reached.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 2:
        return Ranks()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE={size} is set, but not {', '.join(missing)}; torchrun sets all of them"
        )
    from trainer.engine.process_setup import prepare_process

    prepare_process(exp)
    import torch

    from trainer.engine.distributed.process_group import ProcessGroup

    try:
        return ProcessGroup(torch.cuda.is_available())
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(
            f"the {size} processes of this training can't reach each other: {reason}"
        ) from error
