"""torchrun's agent, quieter: ``python -m trainer.launch.torchrun_agent <torchrun's arguments>``.

Starts the processes of a training on this machine, meets the other machines' agents, and starts all again when one
process fails. Why a training ended is told by :mod:`trainer.launch.torchrun_supervisor`, not by a traceback of this process.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Returns 0, 1 when a process failed, 128 and the signal's number when told to stop."""
    logging.disable(logging.CRITICAL)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    try:
        run.run(run.parse_args(list(words)))
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except ChildFailedError:
        return 1
    except RendezvousError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"ResourceError: the machines of this training didn't meet: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
