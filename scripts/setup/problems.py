"""What keeps the set-up from working, found before anything is downloaded, each with its mend."""

import os
import platform
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Optional, Sequence

OLDEST, NEWEST = (3, 10), (3, 13)
# Measured: 2.8 GB installed with a CPU build of torch, 0.3 GB of sources and downloads on the way.
NEEDED_GB = 4.0
COMPILERS = ("c++", "g++", "clang++")


class SetupProblem(Exception):
    """The set-up can't go on. ``mend`` says what to do about it."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def check_python(version: Sequence[int] = sys.version_info) -> None:
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        span = "{}.{} to {}.{}".format(*OLDEST, *NEWEST)
        found = "{}.{}".format(*version[:2])
        raise SetupProblem(
            "Python {} can't run this: it needs Python {}".format(found, span),
            "install one (apt-get install python3.11 python3.11-venv python3.11-dev, brew install "
            "python@3.11), or name it: PYTHON=/path/to/python3.11 scripts/demo",
        )


def check_venv_module() -> None:
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise SetupProblem(
            "this Python has no venv module, so no environment can be made",
            "apt-get install python{}.{}-venv".format(*sys.version_info[:2]),
        )


def check_compiler(path: Optional[str] = None) -> str:
    """Return the C++ compiler on ``path`` (default: the PATH); $CXX goes first."""
    for name in (os.environ.get("CXX"), *COMPILERS):
        found = name and shutil.which(name, path=path)
        if found:
            return found
    mend = "xcode-select --install" if platform.system() == "Darwin" else "apt-get install g++"
    raise SetupProblem(
        "no C++ compiler found (c++, g++ or clang++): mmcv's operators are compiled here", mend
    )


def check_headers(include: Optional[Path] = None) -> None:
    folder = include or Path(sysconfig.get_paths()["include"])
    if not (folder / "Python.h").exists():
        raise SetupProblem(
            "this Python has no headers ({} is missing): mmcv can't be compiled".format(folder / "Python.h"),
            "apt-get install python{}.{}-dev".format(*sys.version_info[:2]),
        )


def check_disk(target: Path, needed_gb: float = NEEDED_GB) -> None:
    """Raise if the disk that will hold ``target`` has less than ``needed_gb`` free (GB = 1e9 bytes)."""
    folder = next(parent for parent in (target, *target.resolve().parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed_gb:
        raise SetupProblem(
            "too little disk: {:.1f} GB free in {}, about {:g} GB needed".format(free, folder, needed_gb),
            "free some space, or clone the repository to a larger disk",
        )


def check_writable(target: Path) -> None:
    folder = next(parent for parent in (target, *target.resolve().parents) if parent.exists())
    if not os.access(folder, os.W_OK):
        raise SetupProblem(
            "{} can't be written".format(folder), "chown it, or clone the repository elsewhere"
        )


def check_all(target: Path, fresh: bool) -> None:
    """Run every check; ``fresh`` says that an environment must be made and filled first."""
    check_python()
    check_writable(target)
    if fresh:
        check_venv_module()
        check_disk(target)
    check_headers()
    compiler = check_compiler()
    if not shutil.which("c++"):
        os.environ["CXX"] = compiler
