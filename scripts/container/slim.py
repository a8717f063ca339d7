"""Take what only building and testing need out of the environment that runs this, and compile its modules.

For an image's build, after ``scripts/setup/main.py``: what is gone here never reaches the final stage. Says what
it saved. Nothing of this changes what a training does.
"""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

# They build packages; a finished environment has none left to build.
BUILDERS = ("cython", "editables", "hatchling", "ninja", "wheel")
# Below the environment: the set-up's logs, the folder that mmcv was compiled in.
LEFTOVERS = ("mmcv-build", "setup*.log")
# Below site-packages.
UNNEEDED = (
    "torch/include",  # headers, for extensions
    "torch/share",
    "torch/test",
    "torch/bin/*test*",
    "torch/bin/*Test*",
    "torch/bin/protoc*",
    "opencv_python.libs",  # opencv-python-headless is written over opencv-python and brings its own
    "cv2/qt",
)
# Packages whose tests are large, and which import none of them for anything else. numpy does.
TESTED = ("matplotlib", "networkx", "numba", "pandas", "pyarrow", "scipy", "skimage", "sklearn", "sympy")


def doomed(environment: Path, site: Path) -> Iterator[Path]:
    """Files and folders to be removed, none within another."""
    for pattern in LEFTOVERS:
        yield from environment.glob(pattern)
    for pattern in UNNEEDED:
        yield from site.glob(pattern)
    for package in TESTED:
        yield from _outermost((site / package).rglob("tests"))


def size(path: Path) -> int:
    """Bytes that a file or all files below a folder take; a link takes none."""
    if path.is_symlink():
        return 0
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def slim(environment: Path, site: Path) -> int:
    """Remove all of it; returns the bytes that this freed."""
    freed = 0
    for path in list(doomed(environment, site)):
        freed += size(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return freed


def main() -> int:
    environment, site = Path(sys.prefix), Path(sysconfig.get_path("purelib"))
    before = size(environment)
    quiet = ["--yes", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "uninstall", *quiet, *BUILDERS], check=True)
    slim(environment, site)
    print(f"environment: {before / 1e6:.0f} MB, slimmed to {size(environment) / 1e6:.0f} MB", flush=True)
    # Some packages bring sources for newer Pythons only; nothing imports them, so a failure is no failure.
    compileall.compile_dir(site, quiet=2, workers=0)
    print(f"with all modules compiled: {size(environment) / 1e6:.0f} MB")
    return 0


def _outermost(folders: Iterable[Path]) -> Iterator[Path]:
    kept: list[Path] = []
    for folder in sorted(folders):
        if folder.is_dir() and not any(folder.is_relative_to(one) for one in kept):
            kept.append(folder)
            yield folder


if __name__ == "__main__":
    sys.exit(main())
