"""Run a program that the kernel sends SIGTERM when its parent ends: ``parent_death_signal.py <parent> <program> ...``.

This is a program of its own because code between fork and exec runs beside the threads of the parent, and gRPC's
threads abort there. It starts without site packages, in some hundredths of a second.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal, then become the program."""
    parent, *program = sys.argv[1:]
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
