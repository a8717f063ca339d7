"""torchrun's agent without its log: ``python -m trainer.launch.torchrun_agent <torchrun's arguments>``.

The agent starts the processes of a training on this machine, meets the other machines' agents, and starts all
processes again when one fails. :mod:`trainer.launch.torchrun_supervisor` reports why a training ended, so this process
prints no traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run the agent. Returns 0, 1 if a process failed, 128 plus the signal's number if a signal stopped it."""
    logging.disable(logging.CRITICAL)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    try:
        run.run(run.parse_args(list(argv)))
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
