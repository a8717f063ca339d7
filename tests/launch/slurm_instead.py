"""In place of Python in a job of SLURM's: a training is that of tests/sweep/cheap.py, any other command does nothing
but hear SLURM's signals.

``python slurm_instead.py -u -m trainer.launch.slurm.rank_main <folder>``; any other module is run as it is.
"""

from __future__ import annotations

import runpy
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def main(words: list[str]) -> int:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    module, *rest = words[words.index("-m") + 1 :]
    if module != "trainer.launch.slurm.rank_main":
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__")
        return 0
    from tests.sweep import cheap
    from trainer.cli import command_line
    from trainer.launch.job import Job
    from trainer.launch.slurm.rank_main import RequeueSignal, main

    if Job.load(rest[0]).command == "train":
        command_line.main = lambda argv: cheap.main(list(argv))  # type: ignore[assignment, arg-type]
        return main(rest[0])
    signal.signal(signal.SIGTERM, _saved)
    signal.signal(signal.SIGUSR2, RequeueSignal(Path(rest[0])))
    print("waiting", flush=True)
    time.sleep(3600)
    return 1


def _saved(signum: int, frame: FrameType | None) -> None:
    print("saved", flush=True)
    sys.exit(143)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
